// One call with the Anthropic SDK for JavaScript; prints the text that a program would get.
// CommonJS, since only its resolution honours NODE_PATH: the SDK lies outside the tree.
const { Anthropic } = require("@anthropic-ai/sdk");

const client = new Anthropic();
const asked = { model: "claude-haiku-4-5", max_tokens: 64, messages: [{ role: "user", content: "say hi" }] };

const calls = {
  async whole() {
    return (await client.messages.create(asked)).content.map((block) => block.text).join("");
  },
  async stream() {
    let text = "";
    for await (const event of await client.messages.create({ ...asked, stream: true })) {
      if (event.type === "content_block_delta") text += event.delta.text;
    }
    return text;
  },
  async helper() {
    return client.messages.stream(asked).finalText();
  },
  async small() {
    const counted = await client.messages.countTokens({ model: asked.model, messages: asked.messages });
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    return `${counted.input_tokens} tokens, ${models}`;
  },
};

calls[process.argv[2]]().then(console.log, (error) => {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exitCode = 1;
});
