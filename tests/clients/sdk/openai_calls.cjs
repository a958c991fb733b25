// One call with the OpenAI SDK for JavaScript; prints the text that a program would get.
// CommonJS, since only its resolution honours NODE_PATH: the SDK lies outside the tree.
const { OpenAI } = require("openai");

const client = new OpenAI();
const chat = { model: "gpt-5-mini", messages: [{ role: "user", content: "say hi" }] };
const response = { model: "gpt-5-mini", input: "say hi" };

const calls = {
  async whole() {
    return (await client.chat.completions.create(chat)).choices[0].message.content;
  },
  async stream() {
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
      text += chunk.choices[0].delta.content ?? "";
    }
    return text;
  },
  async responses() {
    return (await client.responses.create(response)).output_text;
  },
  async "responses-stream"() {
    let text = "";
    for await (const event of await client.responses.create({ ...response, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
      // The SDK hands it on as any other event; a program has to look.
      if (event.type === "response.failed") throw new Error(`response.failed: ${event.response.error.code}`);
    }
    return text;
  },
  async small() {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    return models.join();
  },
};

calls[process.argv[2]]().then(console.log, (error) => {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exitCode = 1;
});
