// mqtt-packet keeps a table of all 65 536 two-byte numbers (8 MB of small buffers), made at the first packet that is
// sent. The agent sends one packet a minute: each number is made when it is written.
const numbers = require('mqtt-packet/numbers.js');
const made = new Proxy({}, { get: (_cache, number) => numbers.generateNumber(Number(number)) });
module.exports = { ...numbers, cache: made, generateCache: () => {} };
