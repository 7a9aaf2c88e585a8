// Registers a key with a ticket (RFC 7591), tries the ticket again, and reads the registration back (RFC 7592): with oauth4webapi, or with
// openid-client if that is `task.library`.
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { options, server, task } from './client.mjs'
import { readFileSync } from 'node:fs'

const { d, p, q, dp, dq, qi, ...open } = JSON.parse(readFileSync(task.register_jwk, 'utf8'))
const metadata = {
  jwks: { keys: [open] },
  redirect_uris: ['https://desk.example/cb'],
  token_endpoint_auth_method: 'private_key_jwt',
  grant_types: ['client_credentials'],
}
const libraries = {
  async oauth4webapi() {
    const response = await oauth.dynamicClientRegistrationRequest(server, metadata, {
      ...options,
      initialAccessToken: task.ticket,
    })
    return oauth.processDynamicClientRegistrationResponse(response)
  },
  async 'openid-client'() {
    const configuration = await openid.dynamicClientRegistration(new URL(task.issuer), metadata, openid.None(), {
      initialAccessToken: task.ticket,
      algorithm: 'oauth2',
      execute: [openid.allowInsecureRequests],
    })
    return configuration.clientMetadata()
  },
}
const register = libraries[task.library]

const registered = await register()
let again = null
try {
  await register()
} catch (refused) {
  again = refused.cause?.at?.(0)?.scheme ?? String(refused)
}
const read = await oauth.protectedResourceRequest(
  registered.registration_access_token,
  'GET',
  new URL(registered.registration_client_uri),
  undefined,
  undefined,
  options,
)
console.log(JSON.stringify({ server, registered, again, read: await read.json() }))
