// A key pair of an integration: `node keys.mjs ALGORITHM DIRECTORY`. The private key is there in PKCS#8 too, for OpenSSL.
import * as oauth from 'oauth4webapi'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [algorithm, directory] = process.argv.slice(2)
const pair = await oauth.generateKeyPair(algorithm, { extractable: true })

for (const kind of ['public', 'private']) {
  const { key_ops, ext, ...jwk } = await crypto.subtle.exportKey('jwk', pair[`${kind}Key`])
  writeFileSync(join(directory, `${kind}.jwk`), JSON.stringify(jwk), { mode: 0o600 })
}
const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', pair.privateKey)).toString('base64')
const pem = `-----BEGIN PRIVATE KEY-----\n${der.match(/.{1,64}/g).join('\n')}\n-----END PRIVATE KEY-----\n`
writeFileSync(join(directory, 'private.pem'), pem, { mode: 0o600 })
