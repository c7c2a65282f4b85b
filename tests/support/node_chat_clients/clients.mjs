// Clients of OpenAI's chat API in JavaScript: each sends the same requests, and writes what it has got.
// Reads {url, key, model} as JSON from its standard input.

import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

const { url, key, model } = JSON.parse(readFileSync(0, "utf8"));
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", description: "The weather", parameters } }];
const said = (content) => [{ role: "user", content }];

async function openai() {
  const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
  const models = [];
  for await (const each of client.models.list()) models.push(each.id);
  const whole = await client.chat.completions.create({ model, messages: said("hello") });
  const stream = await client.chat.completions.create({
    model, messages: said("hello"), stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  // The helper puts the pieces of calls together by their index.
  const called = await client.chat.completions.stream({ model, messages: said("weather"), tools }).finalMessage();
  const refused = await client.chat.completions.create({ model: "nobody", messages: said("hello") }).catch((e) => e);
  const broken = await client.chat.completions
    .stream({ model, messages: said("break") }).finalMessage().catch((e) => e);
  return {
    models,
    whole: [whole.choices[0].message.content, whole.usage.total_tokens],
    streamed: [text, usage.total_tokens],
    call: called.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
    refused: [refused.status, refused.code],
    broken: broken.code,
  };
}

async function responses() {
  const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
  const whole = await client.responses.create({ model, input: "hello" });
  const stream = await client.responses.create({ model, input: "hello", stream: true });
  let text = "", usage = null;
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.completed") usage = event.response.usage;
  }
  const functions = tools.map((tool) => ({ type: "function", strict: false, ...tool.function }));
  const called = await client.responses.stream({ model, input: "weather", tools: functions }).finalResponse();
  const continued = await client.responses.create({ model, input: "and now?", previous_response_id: whole.id });
  const refused = await client.responses.create({ model: "nobody", input: "hello" }).catch((e) => e);
  let broken = null;
  for await (const event of await client.responses.create({ model, input: "break", stream: true })) {
    if (event.type === "response.failed") broken = event.response.error.code;
  }
  return {
    whole: [whole.output_text, whole.usage.total_tokens],
    streamed: [text, usage.total_tokens],
    call: called.output.map((call) => [call.name, JSON.parse(call.arguments)]),
    continued: continued.output_text,
    refused: [refused.status, refused.code],
    broken,
  };
}

async function aiSdk(provider) {
  const chosen = { model: provider(model), maxRetries: 0 };
  const weather = tool({ description: "The weather", inputSchema: jsonSchema(parameters) });
  const whole = await generateText({ ...chosen, prompt: "hello" });
  const stream = streamText({ ...chosen, prompt: "hello" });
  const text = await stream.text;
  const called = streamText({ ...chosen, prompt: "weather", tools: { weather } });
  const calls = (await called.toolCalls).map((call) => [call.toolName, call.input]);
  // The call is executed, and sent back with its result.
  const looked = tool({ ...weather, execute: async () => "sunny" });
  const continued = await generateText({
    ...chosen, prompt: "weather", tools: { weather: looked }, stopWhen: stepCountIs(2),
  });
  const again = await generateText({
    ...chosen, messages: [...said("hello"), ...whole.response.messages, ...said("and now?")],
  });
  const refused = await generateText({ model: provider("nobody"), maxRetries: 0, prompt: "x" }).catch((e) => e);
  let broken = null;
  const failing = streamText({ ...chosen, prompt: "break", onError: ({ error }) => { broken = error; } });
  await failing.consumeStream();
  return {
    whole: [whole.text, whole.usage.totalTokens],
    streamed: [text, (await stream.usage).totalTokens],
    call: calls,
    continued: [continued.text, again.text],
    refused: [refused.statusCode, JSON.parse(refused.responseBody).error.code],
    broken: broken !== null,
  };
}

const compatible = createOpenAICompatible({ name: "flowyard", baseURL: url, apiKey: key, includeUsage: true });
const results = {
  openai: await openai(),
  responses: await responses(),
  aiSdk: await aiSdk(compatible),
  aiSdkResponses: await aiSdk(createOpenAI({ baseURL: url, apiKey: key })),
};
process.stdout.write(JSON.stringify(results));
