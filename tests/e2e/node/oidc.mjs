// SPDX-License-Identifier: Apache-2.0
//
// oidc-provider, a certified issuer, on 127.0.0.1: `node oidc.mjs ALGORITHM` prints its URL and then, for each line read:
//   rotate      signs with a fresh key from now on; the two before stay published (as providers overlap them). Prints the new key's id.
//   hold MS     answers about keys are so late from now on
//   fail CODE   answers about keys are this error from now on; 0 ends it
//   count       prints how often it was asked for keys
// Discovery, keys and the token endpoint (client credentials: test / test, resource urn:postern) are the library's own. It takes its keys at
// construction only, so a rotation makes a new provider behind the same address.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.env.POSTERN_NODE ?? '.', 'index.js'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const algorithm = process.argv[2] ?? 'ES256';
const audience = 'urn:postern';
const keys = [];
let handler;
let late = 0;
let failure = 0;
let asked = 0;

function fresh() {
    const pair = algorithm.startsWith('RS') ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { ...pair.privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: algorithm };
}

function rotate(issuer) {
    keys.unshift(fresh());
    keys.splice(3);
    const provider = new Provider(issuer, {
        jwks: { keys },
        clients: [{
            client_id: 'test', client_secret: 'test', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
            id_token_signed_response_alg: algorithm,
        }],
        features: {
            devInteractions: { enabled: false },
            clientCredentials: { enabled: true },
            resourceIndicators: {
                enabled: true,
                getResourceServerInfo: () => ({ scope: 'models', audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: algorithm } } }),
            },
        },
    });
    provider.on('server_error', (_, error) => console.error(error));
    handler = provider.callback();
    return keys[0].kid;
}

const server = createServer((request, response) => {
    if (request.url !== '/jwks') {
        handler(request, response);
        return;
    }
    asked += 1;
    setTimeout(() => {
        if (failure) response.writeHead(failure).end();
        else handler(request, response);
    }, late);
});

server.listen(0, '127.0.0.1', () => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    rotate(issuer);
    console.log(issuer);
    createInterface({ input: process.stdin }).on('line', (line) => {
        const [order, value] = line.split(' ');
        if (order === 'hold') late = Number(value);
        if (order === 'fail') failure = Number(value);
        console.log({ rotate: () => rotate(issuer), count: () => asked }[order]?.() ?? 'done');
    }).on('close', () => process.exit(0));
});
