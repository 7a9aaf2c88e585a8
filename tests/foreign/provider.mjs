// An OpenID provider that nobody here wrote, oidc-provider, on loopback. Argument: { client, portal }, the client's metadata as it is
// registered and the portal's origin. Prints its issuer, and ends with its standard input.
//
// What it answers can be spoilt, to be the attacker: POST /spoil says how, GET /held gives the answer that a browser was not sent on with.

import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const task = JSON.parse(process.argv[2]);
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = { ...privateKey.export({ format: "jwk" }), kid: "login-1", alg: "RS256", use: "sig" };

const server = createServer();
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://localhost:${server.address().port}`;
const redirect = `${task.portal}/sign-in/back`;
const provider = new Provider(issuer, {
  clients: [
    {
      redirect_uris: [redirect],
      post_logout_redirect_uris: [`${task.portal}/sign-in`],
      backchannel_logout_uri: `${task.portal}/sign-in/ended`,
      backchannel_logout_session_required: true,
      ...task.client,
    },
  ],
  jwks: { keys: [jwk] },
  cookies: { keys: ["loopback"] },
  clientAuthMethods: ["client_secret_basic", "private_key_jwt"],
  features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true }, devInteractions: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // Who signs in has agreed to be signed in.
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
  // Its own refuses loopback, as ours does.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
});

let spoil = {};
let held;
const encode = (part) => Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");

// The token with other claims or another header, signed as its `alg` says.
function forge(token) {
  const [header, claims] = token.split(".").slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
  const changed = { ...claims, ...spoil.claims };
  for (const [name, by] of Object.entries(spoil.shift ?? {})) changed[name] += by;
  const message = `${encode({ ...header, ...spoil.header })}.${encode(changed)}`;
  const algorithm = spoil.header?.alg ?? header.alg;
  const pem = publicKey.export({ format: "pem", type: "spki" });
  const signature = {
    RS256: () => sign("RSA-SHA256", Buffer.from(message), privateKey).toString("base64url"),
    HS256: () => createHmac("sha256", pem).update(message).digest("base64url"),
    none: () => "",
  };
  return `${message}.${signature[algorithm]()}`;
}

provider.use(async (ctx, next) => {
  await next();
  const { path } = ctx;
  if (path === "/token" && ctx.body?.id_token && (spoil.claims || spoil.header || spoil.shift)) {
    ctx.body.id_token = forge(ctx.body.id_token);
  }
  const to = ctx.response.get("location") ?? "";
  if (spoil.hold && to.startsWith(redirect)) {
    held = to;
    ctx.remove("location");
    ctx.status = 200;
    ctx.body = "held";
  }
});

const answer = provider.callback();
server.on("request", async (request, response) => {
  if (request.url === "/spoil") {
    const body = await request.setEncoding("utf8").toArray();
    spoil = JSON.parse(body.join(""));
    response.end(() => spoil.end && process.exit(0));
  } else if (request.url === "/held") {
    response.end(held);
  } else {
    answer(request, response);
  }
});
process.stdin.on("end", () => process.exit(0)).resume();
console.log(issuer);
