// Sends what an attacker would: copies, replays and forgeries. Prints the status and the codes of each answer.
import { randomUUID } from 'node:crypto'
import * as oauth from 'oauth4webapi'
import {
  answers, attempt, bound, byKey, dpop, encode, hash, json, jws, mac, now, path, proof, publicJwk, token,
} from './by-hand.mjs'
import { jwk, pair, server, task } from './client.mjs'

const other = await oauth.generateKeyPair('ES256', { extractable: true })
const { d: _, key_ops, ext, ...otherJwk } = await crypto.subtle.exportKey('jwk', other.publicKey)

const point = Buffer.concat([Buffer.of(4), ...[jwk.x, jwk.y].map((part) => Buffer.from(part, 'base64url'))])

const flipped = (text, at) =>
  text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
const [tokenHeader, tokenPayload, tokenSignature] = token.split('.')
const claims = JSON.parse(Buffer.from(tokenPayload, 'base64url'))
const named = JSON.parse(Buffer.from(tokenHeader, 'base64url'))
const [issuerKey] = (await (await fetch(server.jwks_uri)).json()).keys
const presenting = async (presented) => [bound(presented), dpop(await proof({ payload: { ath: hash(presented) } }))]

const withProof = async (name, wrong) => attempt(name, [bound(), dpop(await proof(wrong))])
await attempt('nothing', [])
await attempt('no proof', [bound()])
await attempt('bound token as Bearer', [`authorization: Bearer ${token}`])
await attempt('bound token as Bearer, with its proof', [`authorization: Bearer ${token}`, dpop(await proof())])
await withProof('nonce made up', { payload: { nonce: encode(randomUUID()) } })
await withProof('wrong key', { header: { jwk: otherJwk }, signature: byKey(other.privateKey) })
await withProof('wrong key under the right name', { signature: byKey(other.privateKey) })
await withProof('other URL', { payload: { htu: new URL('/users/1', task.resource).href } })
await withProof('other host', { payload: { htu: `http://elsewhere.example${path}` } })
await withProof('other method', { payload: { htm: 'POST' } })
await withProof('other token', { payload: { ath: hash('another') } })
await withProof('no token hash', { payload: { ath: undefined } })
await withProof('expired', { payload: { iat: now() - 120 } })
await withProof('future', { payload: { iat: now() + 60 } })
await withProof('far future', { payload: { iat: now() + 10 * 365 * 86_400 } })
await withProof('alg none', { header: { alg: 'none' }, signature: () => '' })
await withProof('alg none, signature kept', { header: { alg: 'none' } })
await withProof('HS256 by the public JWK', { header: { alg: 'HS256' }, signature: mac(JSON.stringify(publicJwk)) })
await withProof('HS256 by the public point', { header: { alg: 'HS256' }, signature: mac(point) })
await withProof('private JWK', { header: { jwk: { ...publicJwk, d: jwk.d } } })
await withProof('type JWT', { header: { typ: 'JWT' } })
await attempt('two proofs', [bound(), dpop(await proof()), dpop(await proof())])
await attempt('two authorizations', [bound(), bound(), dpop(await proof())])
await attempt('DPoP and Bearer', [bound(), `authorization: Bearer ${token}`, dpop(await proof())])

const signatureAt = tokenHeader.length + tokenPayload.length + 2
await attempt('token, signature flipped', presenting(flipped(token, signatureAt + 10)))
await attempt('token, claim flipped', presenting(flipped(token, tokenHeader.length + 20)))
await attempt('token, alg none', presenting(await jws({ ...named, alg: 'none' }, claims, () => '')))
await attempt('token, HS256 by the public key', presenting(
  await jws({ ...named, alg: 'HS256' }, claims, mac(Buffer.from(issuerKey.x, 'base64url'))),
))
await attempt('token, signed by the integration', presenting(
  await jws({ ...named, alg: 'ES256' }, claims, byKey(pair.privateKey)),
))
await attempt('token, longer', presenting(
  `${tokenHeader}.${json({ ...claims, exp: claims.exp + 3600 })}.${tokenSignature}`,
))

// Asked for something that is not granted: the proof is good, and used up.
const elsewhere = '/folders/0'
const once = await proof({ payload: { htu: new URL(elsewhere, task.resource).href } })
await attempt('not granted', [bound(), dpop(once)], { target: elsewhere })
await attempt('replayed', [bound(), dpop(once)], { target: elsewhere })
await attempt('replayed elsewhere', [bound(), dpop(once)])

console.log(JSON.stringify({ answers }))
