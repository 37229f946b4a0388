// The official SDK for Node: `client COMMAND...` or `server`.
const assert = require("node:assert");
const sdk = "@modelcontextprotocol/sdk";
const { Client } = require(`${sdk}/client/index.js`);
const { StdioClientTransport } = require(`${sdk}/client/stdio.js`);
const { McpServer } = require(`${sdk}/server/mcp.js`);
const { StdioServerTransport } = require(`${sdk}/server/stdio.js`);
const { z } = require("zod");

async function client([command, ...args]) {
  const client = new Client({ name: "peer", version: "1.0.0" });
  await client.connect(new StdioClientTransport({ command, args }));
  const { tools } = await client.listTools();
  assert.deepStrictEqual(tools.map((tool) => tool.name), ["echo"]);
  const call = (text) => client.callTool({ name: "echo", arguments: { text } });
  const echo = async (text) => assert.strictEqual((await call(text)).content[0].text, text);
  await echo("a\r\nb\u2028\u00fc\u{1f600}\0");
  await echo("x".repeat(1_000_000));
  await Promise.all([...Array(100).keys()].map((i) => echo(String(i).repeat(1000))));
  // Its id is the last thing in the line.
  await assert.rejects(call("x".repeat(17 << 20)), /longer than 16777216 bytes/);
  await echo("all the same");
  await client.close();
  console.log("good");
}

async function server() {
  const server = new McpServer({ name: "peer", version: "1.0.0" });
  const inputSchema = { text: z.string() };
  server.registerTool("echo", { description: "Returns its text", inputSchema }, ({ text }) => ({
    content: [{ type: "text", text }],
  }));
  await server.connect(new StdioServerTransport());
}

const [what, ...command] = process.argv.slice(2);
(what === "client" ? client(command) : server()).catch((error) => {
  console.error(error);
  process.exit(1);
});
