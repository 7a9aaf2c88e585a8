// Obtains a token by certificate and reads `paths` with it, as oauth4webapi does RFC 8705, then as openid-client does, which also asks about
// its token and gives it back; prints what was received. Node's `fetch` takes no client certificate, so requests are made by node:https.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { readFileSync } from 'node:fs'
import { request } from 'node:https'

const task = JSON.parse(process.argv[2])
const files = { cert: readFileSync(task.certificate), key: readFileSync(task.key), ca: readFileSync(task.ca) }

const fetch = (url, { method, headers, body }) =>
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
const options = { [oauth.customFetch]: fetch }

const issuer = new URL(task.issuer)
const discovered = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(issuer, discovered)
const client = { client_id: task.client_id, use_mtls_endpoint_aliases: true }

const response = await oauth.clientCredentialsGrantRequest(
  server,
  client,
  oauth.TlsClientAuth(),
  { scope: task.scope },
  options,
)
const token = await oauth.processClientCredentialsResponse(server, client, response)
const [, claims] = token.access_token.split('.').map((part) => Buffer.from(part, 'base64url').toString())
const replies = []
for (const path of task.paths) {
  const url = new URL(path, task.resource)
  const reply = await oauth.protectedResourceRequest(token.access_token, 'GET', url, undefined, null, options)
  replies.push({ status: reply.status, body: await reply.text() })
}

const config = await openid.discovery(issuer, task.client_id, { use_mtls_endpoint_aliases: true }, openid.TlsClientAuth(), {
  algorithm: 'oauth2',
  [openid.customFetch]: fetch,
})
const second = await openid.clientCredentialsGrant(config, { scope: task.scope })
const at = new URL(task.paths[0], task.resource)
const again = await openid.fetchProtectedResource(config, second.access_token, at, 'GET')
assert.equal(await again.text(), replies[0].body)
assert.equal((await openid.tokenIntrospection(config, second.access_token)).active, true)
await openid.tokenRevocation(config, second.access_token)
assert.deepEqual(await openid.tokenIntrospection(config, second.access_token), { active: false })
await assert.rejects(openid.fetchProtectedResource(config, second.access_token, at, 'GET'))
console.log(JSON.stringify({ server, token_type: token.token_type, cnf: JSON.parse(claims).cnf, replies }))
