// SPDX-License-Identifier: Apache-2.0
//
// `node replay.mjs URL NAME`: what the official Node SDK's accumulator makes of a replayed stream is what it parses from the JSON
// answer. POSTERN_NODE is the folder with node_modules.
import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import { createRequire } from 'node:module';
import path from 'node:path';

globalThis.File ??= File; // Node 18 has it in node:buffer only
const require = createRequire(path.join(process.env.POSTERN_NODE ?? '.', 'index.js'));
const { default: OpenAI } = require('openai');

const [baseURL, name] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'k', maxRetries: 0 });
// Members that the accumulator replaces instead of appending, and what it adds.
const left = new Set(['content_filter_results', 'content_filter_offsets', 'reasoning', 'reasoning_content', 'stop_reason', 'token_ids',
    'prompt_filter_results', 'prompt_token_ids', 'parsed', 'parsed_arguments', 'output_text', 'index', '_request_id', 'obfuscation']);

function said(value) {
    if (Array.isArray(value))
        return value.map(said);
    if (value === null || typeof value !== 'object')
        return value;
    return Object.fromEntries(Object.entries(value).filter(([key, member]) => member !== null && member !== undefined && !left.has(key))
        .map(([key, member]) => [key, said(member)]));
}

async function chat() {
    const ask = { model: 'm', messages: [{ role: 'user', content: 'x' }] };
    const whole = await client.chat.completions.create(ask);
    const answer = said(whole);
    const parts = new Map();
    let usage;
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
        usage = chunk.usage ?? usage;
        for (const { index, delta } of chunk.choices) {
            const message = parts.get(index) ?? { content: '', refusal: '', reasoning: '', calls: [] };
            message.content += delta?.content ?? '';
            message.refusal += delta?.refusal ?? '';
            message.reasoning += delta?.reasoning_content ?? '';
            for (const call of delta?.tool_calls ?? [])
                message.calls[call.index] = (message.calls[call.index] ?? '') + (call.function?.arguments ?? call.custom?.input ?? '');
            parts.set(index, message);
        }
    }
    assert.deepEqual(said(usage), answer.usage);
    answer.choices.forEach(({ message }, index) => {
        const got = parts.get(index);
        assert.equal(got.content, message.content ?? '');
        assert.equal(got.refusal, message.refusal ?? '');
        assert.equal(got.reasoning, whole.choices[index].message.reasoning_content ?? '');
        assert.deepEqual(got.calls, (message.tool_calls ?? []).map((call) => call.function?.arguments ?? call.custom.input));
    });
    if (name === 'chat_tools' || name === 'chat_annotations')
        return; // custom tools and sound are beyond the accumulator
    const final = said(await client.chat.completions.stream({ ...ask, stream_options: { include_usage: true } }).finalChatCompletion());
    for (const choice of [...answer.choices, ...final.choices])
        for (const member of ['content', 'refusal'])
            choice.message[member] ??= '';
    assert.deepEqual(final.choices, answer.choices);
}

async function responses() {
    const ask = { model: 'm', input: 'x' };
    const answer = said(await client.responses.create(ask));
    assert.deepEqual(said(await client.responses.stream(ask).finalResponse()), answer);
}

await (name.startsWith('chat') ? chat() : responses());
