// An OpenID provider of a test's own: fresh keys at each start, everybody who knocks is let in.
//
// node provider.mjs PORT CERTIFICATE KEY; it says `ready` when it listens. A resource such as
// https://of.test/?alg=ES256&aud=node&ttl=60 makes access tokens that are signed so, for that audience.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { randomBytes } from 'node:crypto';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

// Its warnings are none of what the test reads.
console.info = console.error;
console.warn = console.error;

const [, , port, certificate, key] = process.argv;
const issuer = `https://localhost:${port}`;

async function fresh(alg, options = {}) {
  const { privateKey } = await jose.generateKeyPair(alg, { extractable: true, ...options });
  return { ...(await jose.exportJWK(privateKey)), use: 'sig', kid: `${alg}-${randomBytes(4).toString('hex')}` };
}

const keys = [await fresh('RS256'), await fresh('ES256'), await fresh('EdDSA', { crv: 'Ed25519' })];

function resourceServer(_, resource) {
  const asked = new URL(resource).searchParams;
  return {
    scope: '',
    audience: asked.get('aud'),
    accessTokenFormat: 'jwt',
    accessTokenTTL: Number(asked.get('ttl')),
    jwt: { sign: { alg: asked.get('alg') } },
  };
}

const of = (user) => ({ preferred_username: user, groups: ['analysts', 'data scientists'] });

const provider = new Provider(issuer, {
  jwks: { keys },
  cookies: { keys: ['of a test'] },
  clients: [
    {
      client_id: 'stockade-cli',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: 'ES256',
    },
    {
      client_id: 'stockade console',
      client_secret: 'of the console: 100 % & more',
      grant_types: ['authorization_code'],
      redirect_uris: ['https://node.test/console/logged-in'],
      response_types: ['code'],
    },
    {
      client_id: 'machine',
      client_secret: 'of the machine',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  enabledJWA: {
    idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
  },
  claims: { profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  findAccount: (_, user) => ({
    accountId: user,
    claims: () => ({ sub: user, ...of(user), email: `${user}@acme.test`, email_verified: true }),
  }),
  extraTokenClaims: () => of('ada'),
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
  },
});

const files = { cert: readFileSync(certificate), key: readFileSync(key) };
createServer(files, provider.callback()).listen(Number(port), '127.0.0.1', () => console.log('ready'));
