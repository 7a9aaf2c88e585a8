// An integration reads with tokens of an authorization server that is not the gateway's, bound to its certificate (RFC 8705). Argument:
// { issuer, resource, scope, path, certificate, key, other, ca }: `certificate` is the one that is registered, at that server and here, and
// `other` another one, each with its key. Prints what was received; leaves with 1 and says why if anything is not as it should be.

import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import { readFileSync } from 'node:fs'
import { request } from 'node:https'

const task = JSON.parse(process.argv[2])
const ca = readFileSync(task.ca)
const filesOf = ({ certificate, key }) => ({ cert: readFileSync(certificate), key: readFileSync(key), ca })

const fetchAs = (files) => (url, { method, headers, body }) =>
  new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, ...files, agent: false }, (reply) => {
      const parts = []
      reply.on('data', (part) => parts.push(part))
      reply.on('end', () =>
        resolve(new Response(Buffer.concat(parts), { status: reply.statusCode, headers: reply.headers })),
      )
    })
    sent.on('error', reject)
    sent.end(body?.toString())
  })
const options = { [oauth.customFetch]: fetchAs(filesOf(task)) }

const issuer = new URL(task.issuer)
const discovered = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(issuer, discovered)

const read = async (token, fetch, headers = {}) => {
  const reply = await fetch(new URL(task.path, task.resource), { method: 'GET', headers: { authorization: `Bearer ${token}`, ...headers } })
  return { status: reply.status, body: await reply.json() }
}

const received = {}
for (const client_id of ['mtls', 'mtls-opaque']) {
  const client = { client_id }
  const response = await oauth.clientCredentialsGrantRequest(server, client, oauth.TlsClientAuth(), { scope: task.scope }, options)
  const { access_token, token_type } = await oauth.processClientCredentialsResponse(server, client, response)
  assert.equal(token_type, 'bearer')
  const { status, body } = await read(access_token, options[oauth.customFetch])
  assert.equal(status, 200, JSON.stringify(body))
  received[client_id] = body
  // A connection with another certificate, and one with none, whatever a header says.
  const claimed = { 'client-cert': `:${readFileSync(task.certificate, 'utf8').replace(/-.*-|\s/g, '')}:` }
  for (const files of [filesOf(task.other), { ca }]) {
    assert.equal((await read(access_token, fetchAs(files))).status, 401)
    assert.equal((await read(access_token, fetchAs(files), claimed)).status, 401)
  }
}
console.log(JSON.stringify({ received }))
