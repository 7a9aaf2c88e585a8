// What the scripts share: an integration as oauth4webapi makes one, with a note of every request it sends.
import * as oauth from 'oauth4webapi'
import { readFileSync } from 'node:fs'

const parameters = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  Ed25519: { name: 'Ed25519' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
}

const algorithmOf = (jwk) => ({ EC: 'ES256', OKP: 'Ed25519', RSA: 'PS256' })[jwk.kty]

export const task = JSON.parse(process.argv[2])
export const jwk = JSON.parse(readFileSync(task.private_jwk, 'utf8'))
export const algorithm = algorithmOf(jwk)

async function importPair() {
  const { d, p, q, dp, dq, qi, alg, ...open } = jwk
  const importKey = (key, use) =>
    crypto.subtle.importKey('jwk', { ...key, alg: undefined }, parameters[algorithm], true, [use])
  return { privateKey: await importKey(jwk, 'sign'), publicKey: await importKey(open, 'verify') }
}

export const pair = await importPair()

// Every exchange, in order: what was asked, the status, and the error that the answer named.
export const exchanges = []
const noted = async (url, init) => {
  const response = await fetch(url, init)
  const challenge = response.headers.get('www-authenticate') ?? ''
  let error = /error="([^"]+)"/.exec(challenge)?.[1]
  if (response.status === 400) error ??= (await response.clone().json()).error
  exchanges.push({ url: String(url), status: response.status, error: error ?? null })
  return response
}

export const options = { [oauth.allowInsecureRequests]: true, [oauth.customFetch]: noted }

const issuer = new URL(task.issuer)
const discovered = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' })
export const server = await oauth.processDiscoveryResponse(issuer, discovered)

export const client = { client_id: task.client_id }
export const proofs = oauth.DPoP(client, pair)

// Repeats a request once if it is answered with a nonce to use, as RFC 9449 sections 8 and 9 have it.
export async function withNonce(attempt) {
  try {
    return await attempt()
  } catch (refused) {
    if (!oauth.isDPoPNonceError(refused)) throw refused
    return attempt()
  }
}

export function obtainToken() {
  return withNonce(async () => {
    const response = await oauth.clientCredentialsGrantRequest(
      server,
      client,
      oauth.PrivateKeyJwt(pair.privateKey),
      { scope: task.scope },
      { ...options, DPoP: proofs },
    )
    return oauth.processClientCredentialsResponse(server, client, response)
  })
}

export function read(token, path) {
  const url = new URL(path, task.resource)
  return withNonce(() =>
    oauth.protectedResourceRequest(token, 'GET', url, undefined, null, { ...options, DPoP: proofs }),
  )
}
