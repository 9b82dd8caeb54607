// In place of `rfdc` (3 KB): mqtt copies a packet with it before it changes topic and topic alias of the copy. The payload
// is the same buffer, and nobody writes into it.
module.exports = (packet) => ({ ...packet, properties: packet.properties && { ...packet.properties } });
