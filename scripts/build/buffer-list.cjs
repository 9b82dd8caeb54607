// In place of `bl` (6 KB, and a stream): what mqtt-packet's parser uses of it, over one buffer. Same names, same results;
// test/unit/scripts/buffer-list.test.ts holds it to the original. Packets are capped before they come here.
class BufferList {
  #bytes = Buffer.alloc(0);

  get length() {
    return this.#bytes.length;
  }
  append(bytes) {
    this.#bytes = this.#bytes.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#bytes, bytes]);
    return this;
  }
  consume(count) {
    this.#bytes = this.#bytes.subarray(count);
    return this;
  }
  slice(start, end) {
    return this.#bytes.subarray(start, end);
  }
  toString(encoding, start, end) {
    return this.#bytes.toString(encoding, start, end);
  }
  readUInt8(at) {
    return this.#bytes.readUInt8(at);
  }
  readUInt16BE(at) {
    return this.#bytes.readUInt16BE(at);
  }
  readUInt32BE(at) {
    return this.#bytes.readUInt32BE(at);
  }
}

module.exports = () => new BufferList();
