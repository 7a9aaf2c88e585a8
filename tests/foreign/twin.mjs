// The twin of the forgeries: with nothing wrong, the same request made by the same hand is answered. Its copy is not.
import { answers, attempt, bound, dpop, proof } from './by-hand.mjs'

const good = await proof()
await attempt('honest', [bound(), dpop(good)])
await attempt('copied', [bound(), dpop(good)])
console.log(JSON.stringify({ answers }))
