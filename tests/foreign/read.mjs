// Obtains a token and reads `paths` with it; prints what was exchanged and what was received.
import * as oauth from 'oauth4webapi'
import { exchanges, obtainToken, read, server, task } from './client.mjs'

const { access_token, token_type, expires_in, scope } = await obtainToken()

const replies = []
for (const path of task.paths) {
  const response = await read(access_token, path).catch((refused) => {
    if (refused instanceof oauth.WWWAuthenticateChallengeError) return refused.response
    throw refused
  })
  replies.push({
    path,
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
  })
}
console.log(JSON.stringify({ server, token: { token_type, expires_in, scope }, exchanges, replies }))
