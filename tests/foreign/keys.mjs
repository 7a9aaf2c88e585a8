// A key pair of an integration: `node keys.mjs ALGORITHM DIRECTORY`.
import * as oauth from 'oauth4webapi'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [algorithm, directory] = process.argv.slice(2)
const pair = await oauth.generateKeyPair(algorithm, { extractable: true })

for (const kind of ['public', 'private']) {
  const { key_ops, ext, ...jwk } = await crypto.subtle.exportKey('jwk', pair[`${kind}Key`])
  writeFileSync(join(directory, `${kind}.jwk`), JSON.stringify(jwk), { mode: 0o600 })
}
