// Proofs and requests made by hand, each over a socket of its own, so that anything can be wrong with them.
// What is honest (the token, the key) comes from oauth4webapi.
import { createHash, createHmac, randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { jwk, obtainToken, pair, task } from './client.mjs'

export const encode = (bytes) => Buffer.from(bytes).toString('base64url')
export const json = (value) => encode(JSON.stringify(value))
export const now = () => Math.floor(Date.now() / 1000)
const { kty, crv, x, y } = jwk
export const publicJwk = { kty, crv, x, y }

const sign = async (key, input) =>
  encode(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, Buffer.from(input)))
export const jws = async (header, payload, signature) => {
  const input = `${json(header)}.${json(payload)}`
  return `${input}.${await signature(input)}`
}
export const byKey = (key) => (input) => sign(key, input)
export const mac = (secret) => (input) => encode(createHmac('sha256', secret).update(input).digest())

export const { access_token: token } = await obtainToken()
export const [path] = task.paths
export const url = new URL(path, task.resource).href

// One request on one connection; the answer is what came until the gateway closed it.
function send(headers, { method = 'GET', target = path } = {}) {
  const { hostname, port, host } = new URL(task.resource)
  const lines = [`${method} ${target} HTTP/1.1`, `host: ${host}`, ...headers, 'connection: close']
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port, autoSelectFamily: true })
    let answer = ''
    socket.setTimeout(30_000, () => socket.destroy(new Error(`no answer to ${target}`)))
    socket.on('data', (data) => (answer += data)).on('error', reject)
    socket.on('close', () => resolve(answer))
    socket.write(lines.join('\r\n') + '\r\n\r\n')
  })
}

// What an answer says to a caller: its status, the code in its problem document, the error in its challenge.
function told(name, answer) {
  const [head, body] = answer.split('\r\n\r\n')
  const field = (field) => new RegExp(`^${field}: (.*)$`, 'im').exec(head)?.[1].trim() ?? null
  const problem = (field('content-type') ?? '').endsWith('json') ? JSON.parse(body) : {}
  return {
    name,
    status: Number(head.split(' ')[1]),
    code: problem.code ?? null,
    error: /error="([^"]+)"/.exec(field('www-authenticate') ?? '')?.[1] ?? null,
    nonce: field('dpop-nonce'),
    members: Object.keys(problem).sort(),
  }
}

export const dpop = (proof) => `dpop: ${proof}`
export const bound = (presented = token) => `authorization: DPoP ${presented}`
export const hash = (text) => encode(createHash('sha256').update(text).digest())

// The honest proof, for this request and now, with whatever is to be wrong with it.
let nonce
export async function proof({ header = {}, payload = {}, signature = byKey(pair.privateKey) } = {}) {
  const honest = { jti: randomUUID(), htm: 'GET', htu: url, iat: now(), ath: hash(token), nonce }
  const as = { typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk, ...header }
  return jws(as, { ...honest, ...payload }, signature)
}

export const answers = []
export async function attempt(name, headers, request) {
  const answer = told(name, await send(await headers, request))
  answers.push(answer)
  return answer
}

// A nonce of the gateway's, asked for as everyone asks.
;({ nonce } = await attempt('no nonce', [bound(), dpop(await proof())]))
