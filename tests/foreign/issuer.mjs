// An authorization server that nobody here wrote, oidc-provider, on loopback, for the gateway to take tokens of. Argument: { resource, jwk,
// alg }: the gateway's address, and the public key that its clients are registered with; { tls, certificate } besides, if it is to be reached
// by TLS with the key and certificate in files of these names, and to know the client whose certificate this file is. Prints its issuer,
// and ends with its standard input.
//
// Its clients: `app`, whose tokens are signed; `app-opaque`, whose are not; `stranger`, whom nobody mapped; `portcullis`, which may ask
// about tokens. POST /forge signs whatever it is told with its own keys, to be the attacker; POST /tell changes what it says.

import { createHmac, generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import Provider from "oidc-provider";

const task = JSON.parse(process.argv[2]);
const secret = "as the operator registered it: +/%";

const pairs = {};
function makeKey(kid, type, options, alg) {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  pairs[kid] = { privateKey, publicKey };
  return { ...privateKey.export({ format: "jwk" }), kid, alg, use: "sig" };
}
const keys = [
  makeKey("es", "ec", { namedCurve: "P-256" }, "ES256"),
  makeKey("ps", "rsa", { modulusLength: 2048 }, "PS256"),
  makeKey("ed", "ed25519", {}, "EdDSA"),
  makeKey("rs", "rsa", { modulusLength: 2048 }, "RS256"),
  makeKey("next", "ec", { namedCurve: "P-256" }, "ES256"),
];

// What it says may be changed: which keys it shows, where it says that they are, whether it answers, how it signs.
let told = { shown: ["es", "ps", "ed", "rs"], sign: "es" };
let asked = {};

const { tls } = task;
const server = tls
  ? createSecureServer({ key: readFileSync(tls.key), cert: readFileSync(tls.cert), requestCert: true, rejectUnauthorized: false })
  : createServer();
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `${tls ? "https" : "http"}://localhost:${server.address().port}`;
const client = (client_id, more) => ({
  client_id,
  grant_types: ["client_credentials", "authorization_code"],
  redirect_uris: ["http://127.0.0.1/back"],
  response_types: ["code"],
  token_endpoint_auth_method: "private_key_jwt",
  token_endpoint_auth_signing_alg: task.alg,
  jwks: { keys: [task.jwk] },
  ...more,
});
const byCertificate = [];
if (task.certificate) {
  const certificate = new X509Certificate(readFileSync(task.certificate));
  const jwk = { ...certificate.publicKey.export({ format: "jwk" }), x5c: [certificate.raw.toString("base64")] };
  for (const name of ["mtls", "mtls-opaque"]) {
    byCertificate.push(
      client(name, {
        token_endpoint_auth_method: "self_signed_tls_client_auth",
        token_endpoint_auth_signing_alg: undefined,
        tls_client_certificate_bound_access_tokens: true,
        jwks: { keys: [jwk] },
      }),
    );
  }
}
const provider = new Provider(issuer, {
  clients: [
    ...byCertificate,
    client("app"),
    client("app-opaque"),
    client("stranger"),
    {
      client_id: "portcullis",
      client_secret: secret,
      redirect_uris: [],
      response_types: [],
      grant_types: [],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  jwks: { keys },
  scopes: ["read", "read-mine", "write"],
  cookies: { keys: ["loopback"] },
  clientAuthMethods: ["client_secret_basic", "private_key_jwt", "self_signed_tls_client_auth"],
  enabledJWA: {
    clientAuthSigningAlgValues: ["ES256", "EdDSA", "Ed25519", "PS256"],
    dPoPSigningAlgValues: ["ES256", "EdDSA", "Ed25519", "PS256"],
  },
  ttl: { AccessToken: 600, ClientCredentials: 600 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => false },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      getCertificate: ({ socket }) => socket.getPeerX509Certificate?.()?.toString(),
    },
    introspection: { enabled: true, allowedPolicy: (_, by) => by.clientId === "portcullis" },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => task.resource,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource, { clientId }) => ({
        scope: "read read-mine write",
        audience: resource,
        accessTokenFormat: clientId.endsWith("-opaque") ? "opaque" : "jwt",
        jwt: { sign: { alg: keys.find((key) => key.kid === told.sign).alg, kid: told.sign } },
      }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid read read-mine");
    grant.addResourceScope(task.resource, "read read-mine");
    await grant.save();
    return grant;
  },
});

provider.use(async (ctx, next) => {
  asked[ctx.path] = (asked[ctx.path] ?? 0) + 1;
  await next();
  if (ctx.path === "/jwks") ctx.body = { keys: ctx.body.keys.filter(({ kid }) => told.shown.includes(kid)) };
  if (ctx.path === "/token/introspection" && ctx.body?.active && told.introspection) {
    const said = Object.entries({ ...ctx.body, ...told.introspection });
    ctx.body = Object.fromEntries(said.filter(([, value]) => value !== null));
  }
  if (ctx.path.startsWith("/.well-known/") && told.metadata) Object.assign(ctx.body, told.metadata);
});

const encode = (part) => Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");

function forge({ header, claims, by }) {
  const message = `${encode(header)}.${encode(claims)}`;
  const { privateKey, publicKey } = pairs[by ?? "es"];
  const signature = {
    ES256: () => sign("SHA256", Buffer.from(message), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url"),
    RS256: () => sign("RSA-SHA256", Buffer.from(message), privateKey).toString("base64url"),
    HS256: () => createHmac("sha256", publicKey.export({ format: "pem", type: "spki" })).update(message).digest("base64url"),
    none: () => "",
  };
  return `${message}.${signature[header.alg]()}`;
}

const answer = provider.callback();
server.on("request", async (request, response) => {
  const body = async () => JSON.parse((await request.setEncoding("utf8").toArray()).join(""));
  if (request.url === "/forge") {
    response.end(forge(await body()));
  } else if (request.url === "/tell") {
    told = { ...told, ...(await body()) };
    asked = {};
    response.end();
  } else if (request.url === "/asked") {
    response.end(JSON.stringify(asked));
  } else if (told.down) {
    request.socket.destroy();
  } else {
    answer(request, response);
  }
});
process.stdin.on("end", () => process.exit(0)).resume();
console.log(issuer);
