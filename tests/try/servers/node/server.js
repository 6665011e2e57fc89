// A server for Node, as one would write it first. To try it:  node server.js --port=8080
const { createServer } = require("node:http");
const { parseArgs } = require("node:util");

const text = { type: "string" };
const { values } = parseArgs({ options: { port: text, "body-bytes": text, timeout: text } });
const body = Buffer.alloc(Number(values["body-bytes"] ?? 13), "Hello, world!");
const limits = { maxHeaderSize: 8192 };
if (values.timeout) {
  limits.headersTimeout = limits.requestTimeout = 1000 * values.timeout;
  limits.connectionsCheckingInterval = 100 * values.timeout; // how often it looks who is too late
}
createServer(limits, (request, response) => response.end(body)).listen(values.port, "127.0.0.1");
