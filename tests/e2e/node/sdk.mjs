// SPDX-License-Identifier: Apache-2.0
//
// The official Node SDK through Postern: `node sdk.mjs CLIENT CASE` runs one case for each model, `node sdk.mjs` lists the cases.
// POSTERN_NODE is the folder with node_modules, POSTERN_URL the gateway, POSTERN_MODELS the models to ask for, POSTERN_LISTED those that
// it lists; with commas. A model called status-N answers with that error. POSTERN_KEY is the key, POSTERN_TOKEN a token that the Azure
// class gets from a provider, as it would from an identity library.
import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import { createRequire } from 'node:module';
import path from 'node:path';

globalThis.File ??= File; // Node 18 has it in node:buffer only
const require = createRequire(path.join(process.env.POSTERN_NODE ?? '.', 'index.js'));

const { POSTERN_URL: url, POSTERN_MODELS: models, POSTERN_LISTED: listed, POSTERN_KEY: apiKey, POSTERN_TOKEN: token } = process.env;
let model = '';
const content = 'canary prompt 0a4be7';
const messages = [{ role: 'user', content }];
const tool = {
    type: 'function',
    function: {
        name: 'get_weather',
        parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false },
    },
};

function connect(kind) {
    const { default: OpenAI, AzureOpenAI } = require('openai');
    const azureADTokenProvider = kind.startsWith('Azure') && token ? async () => token : undefined;
    const options = { ...(azureADTokenProvider ? { azureADTokenProvider } : { apiKey: token ?? apiKey }), maxRetries: 0 };
    switch (kind) {
    case 'OpenAI':
        return new OpenAI({ ...options, baseURL: `${url}/v1` });
    case 'AzureOpenAI':
        return new AzureOpenAI({ ...options, endpoint: url, apiVersion: '2024-10-21' });
    case 'AzureOpenAI by environment':
        // What an injected OPENAI_BASE_URL makes of it: paths like /v1/deployments/NAME/chat/completions.
        return new AzureOpenAI({ ...options, baseURL: `${url}/v1`, apiVersion: '2024-10-21' });
    default:
        throw new Error(`no client ${kind}`);
    }
}

async function refused(status, expected, client) {
    const { default: OpenAI } = require('openai');
    const asked = client.chat.completions.create({ model: `status-${status}`, messages });
    await assert.rejects(asked, (error) => {
        assert.ok(error instanceof OpenAI[expected], `${error.constructor.name} is no ${expected}`);
        assert.ok(error.requestID);
        return true;
    });
}

const cases = {
    async chat(client) {
        const answer = await client.chat.completions.create({ model, messages });
        assert.ok(answer.choices[0].message.content.includes(content));
        assert.ok(answer.usage.total_tokens > 0);
    },
    async tools(client) {
        const answer = await client.chat.completions.create({ model, messages, tools: [tool], tool_choice: 'required' });
        const [call] = answer.choices[0].message.tool_calls;
        assert.equal(call.function.name, 'get_weather');
        assert.equal(typeof JSON.parse(call.function.arguments).city, 'string');
    },
    async structured(client) {
        const { z } = require('zod');
        const { zodResponseFormat } = require('openai/helpers/zod');
        const shape = z.object({ name: z.string(), age: z.number() });
        const answer = await client.chat.completions.parse({ model, messages, response_format: zodResponseFormat(shape, 'person') });
        assert.equal(typeof answer.choices[0].message.parsed.age, 'number');
    },
    async stream(client) {
        let text = '';
        for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
            assert.ok(!chunk.usage);
            text += chunk.choices[0]?.delta?.content ?? '';
        }
        assert.ok(text.includes(content));
    },
    async streamWithUsage(client) {
        const chunks = [];
        const options = { stream: true, stream_options: { include_usage: true } };
        for await (const chunk of await client.chat.completions.create({ model, messages, ...options })) chunks.push(chunk);
        assert.deepEqual(chunks.at(-1).choices, []);
        assert.ok(chunks.at(-1).usage.total_tokens > 0);
    },
    async embeddings(client) {
        const packed = await client.embeddings.create({ model, input: 'one', dimensions: 32 });
        const plain = await client.embeddings.create({ model, input: 'one', dimensions: 32, encoding_format: 'float' });
        assert.equal(packed.data[0].embedding.length, 32);
        packed.data[0].embedding.forEach((n, i) => assert.ok(Math.abs(n - plain.data[0].embedding[i]) < 1e-6));
    },
    async responses(client) {
        const answer = await client.responses.create({ model, input: content, store: false });
        assert.ok(answer.output_text.includes(content));
    },
    async responsesStream(client) {
        let text = '';
        let last = '';
        for await (const event of await client.responses.create({ model, input: content, stream: true, store: false })) {
            last = event.type;
            if (event.type === 'response.output_text.delta') text += event.delta;
        }
        assert.equal(last, 'response.completed');
        assert.ok(text.includes(content));
    },
    async transcription(client) {
        const file = new globalThis.File([Buffer.alloc(100000)], 'speech.wav', { type: 'audio/wav' });
        const answer = await client.audio.transcriptions.create({ model, file });
        assert.ok(answer.text.length > 0);
    },
    async image(client) {
        const answer = await client.images.generate({ model, prompt: content, response_format: 'b64_json' });
        assert.equal(Buffer.from(answer.data[0].b64_json, 'base64').subarray(1, 4).toString(), 'PNG');
    },
    async models(client) {
        const found = [];
        for await (const entry of client.models.list()) found.push(entry.id);
        assert.deepEqual(found.sort(), listed.split(',').sort());
    },
    badRequest: (client) => refused(400, 'BadRequestError', client),
    notFound: (client) => refused(404, 'NotFoundError', client),
    rateLimit: (client) => refused(429, 'RateLimitError', client),
    serverError: (client) => refused(500, 'InternalServerError', client),
    credentialRefused: (client) => refused(401, 'InternalServerError', client),
    async unknownModel(client) {
        const asked = client.chat.completions.create({ model: 'nobody-has-this', messages });
        await assert.rejects(asked, (error) => error.status === 404 && error.code === 'model_not_found');
    },
};

const [kind, name] = process.argv.slice(2);
if (kind === undefined) {
    console.log(Object.keys(cases).join('\n'));
} else {
    for (model of models.split(',')) await cases[name](connect(kind));
}
