// Others' implementations in JavaScript: sign what they are given, and verify what we have signed.
// Reads a list of cases as JSON from its standard input, and writes what came of each.

import { createHmac, createPrivateKey, createPublicKey, sign as signBytes, verify as verifyBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import * as octokit from "@octokit/webhooks-methods";
import { verifyKey } from "discord-interactions";
import { Webhook } from "standardwebhooks";

// What precedes the 32 bytes of an Ed25519 key in DER (RFC 8410).
const PRIVATE = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC = Buffer.from("302a300506032b6570032100", "hex");

const privateKey = (seed) => createPrivateKey({ key: Buffer.concat([PRIVATE, seed]), format: "der", type: "pkcs8" });
const publicKey = (key) => createPublicKey({ key: Buffer.concat([PUBLIC, key]), format: "der", type: "spki" });
const hmac = (secret, text) => createHmac("sha256", secret).update(text).digest("hex");
const keyOf = (text) => Buffer.from(text.slice("whsk_".length), "base64");

const senders = {
  generic: {
    sign: ({ secret, seconds, body }) => ({
      "X-Webhook-Timestamp": seconds,
      "X-Webhook-Signature": `sha256=${hmac(secret, `${seconds}.${body}`)}`,
    }),
    verify: ({ secret }, headers, body) =>
      headers["x-webhook-signature"] === `sha256=${hmac(secret, `${headers["x-webhook-timestamp"]}.${body}`)}`,
  },
  github: {
    sign: async ({ secret, body }) => ({ "X-Hub-Signature-256": await octokit.sign(secret, body) }),
    verify: ({ secret }, headers, body) => octokit.verify(secret, body, headers["x-hub-signature-256"]),
  },
  discord: {
    // Discord's library verifies only: what it doesn't accept isn't sent.
    sign: async ({ secret, seconds, body }) => {
      const signer = privateKey(Buffer.from(secret, "hex"));
      const signature = signBytes(null, Buffer.from(seconds + body), signer).toString("hex");
      const key = createPublicKey(signer).export({ format: "der", type: "spki" }).subarray(PUBLIC.length).toString("hex");
      if (!(await verifyKey(body, signature, seconds, key))) throw new Error("discord-interactions refuses it");
      return { "X-Signature-Timestamp": seconds, "X-Signature-Ed25519": signature };
    },
    verify: ({ key }, headers, body) =>
      verifyKey(body, headers["x-signature-ed25519"], headers["x-signature-timestamp"], key),
  },
  standard: {
    sign: ({ secret, seconds, body, id = "msg_1" }) => ({
      "Webhook-Id": id,
      "Webhook-Timestamp": seconds,
      "Webhook-Signature": new Webhook(secret).sign(id, new Date(seconds * 1000), body),
    }),
    verify: ({ secret }, headers, body) => {
      try {
        new Webhook(secret).verify(body, headers, { jsonParse: false });
        return true;
      } catch (error) {
        if (error.message !== "No matching signature found") throw error;
        return false;
      }
    },
  },
  // No library has these.
  "standard-v1a": {
    sign: ({ secret, seconds, body, id = "msg_1" }) => ({
      "Webhook-Id": id,
      "Webhook-Timestamp": seconds,
      "Webhook-Signature": `v1a,${signBytes(null, Buffer.from(`${id}.${seconds}.${body}`), privateKey(keyOf(secret))).toString("base64")}`,
    }),
    verify: ({ key }, headers, body) => {
      const content = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
      const signature = Buffer.from(headers["webhook-signature"].slice("v1a,".length), "base64");
      return verifyBytes(null, Buffer.from(content), publicKey(keyOf(key)), signature);
    },
  },
};

const results = [];
for (const each of JSON.parse(readFileSync(0, "utf-8"))) {
  const sender = senders[each.sender];
  results.push({
    headers: await sender.sign(each),
    accepts: each.headers && (await sender.verify(each, each.headers, each.body)),
    acceptsChanged: each.headers && (await sender.verify(each, each.headers, `${each.body} `)),
  });
}
process.stdout.write(JSON.stringify(results));
