// Obtains a token and prints the answer, for programs that speak no OAuth.
import { obtainToken } from './client.mjs'

console.log(JSON.stringify(await obtainToken()))
