// The one part of node-forge's util.js (23 KB) that its ASN.1 module uses: a buffer over a binary string, one character
// a byte. Same names, same results; test/unit/scripts/byte-string-buffer.test.ts holds it to the original.
const forge = require('node-forge/lib/forge.js');

class ByteStringBuffer {
  constructor(bytes) {
    this.data = typeof bytes === 'string' ? bytes : (bytes?.data ?? '');
    this.read = bytes?.read ?? 0;
  }
  length() {
    return this.data.length - this.read;
  }
  putByte(byte) {
    this.data += String.fromCharCode(byte & 0xff);
    return this;
  }
  putBytes(bytes) {
    this.data += bytes;
    return this;
  }
  putBuffer(buffer) {
    return this.putBytes(buffer.getBytes());
  }
  putInt(value, bits) {
    for (let left = bits - 8; left >= 0; left -= 8) this.putByte(value >> left);
    return this;
  }
  putSignedInt(value, bits) {
    return this.putInt(value < 0 ? value + 2 ** bits : value, bits);
  }
  getByte() {
    return this.data.charCodeAt(this.read++);
  }
  getInt(bits) {
    let value = 0;
    for (let left = bits; left > 0; left -= 8) value = value * 256 + this.getByte();
    return value;
  }
  getSignedInt(bits) {
    const value = this.getInt(bits);
    return value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
  }
  getBytes(count) {
    const bytes = this.bytes(count);
    this.read += bytes.length;
    return bytes;
  }
  bytes(count) {
    return this.data.slice(this.read, count === undefined ? undefined : this.read + count);
  }
}

forge.util = forge.util || {};
forge.util.createBuffer = (bytes) => new ByteStringBuffer(bytes);
forge.util.isArray = Array.isArray;
forge.util.bytesToHex = (bytes) => Buffer.from(bytes, 'latin1').toString('hex');
forge.util.decodeUtf8 = (bytes) => Buffer.from(bytes, 'latin1').toString('utf8');
