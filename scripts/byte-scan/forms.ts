/**
 * A secret in the forms in which it might lie about: as it is, in UTF-16, in hex and in base64. What is compressed or
 * encrypted is in none of them: unpack it, and scan that.
 */
export interface Secret {
  /** For people; says nothing of the secret. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

interface Form {
  readonly form: string;
  readonly bytes: Buffer;
}

/** Fewer would be found by chance, once in some terabytes; nothing shorter is a secret here. */
export const SHORTEST_BYTES = 8;

/** Every form once. Throws for what is too short to be told from chance. */
export function formsOf({ name, bytes }: Secret): readonly Form[] {
  if (bytes.length < SHORTEST_BYTES)
    throw new RangeError(`${name} has ${bytes.length} bytes; they would be found anywhere`);
  const plain = Buffer.from(bytes);
  const hex = plain.toString('hex');
  const all: Form[] = [
    { form: 'plain', bytes: plain },
    { form: 'hex', bytes: Buffer.from(hex) },
    { form: 'HEX', bytes: Buffer.from(hex.toUpperCase()) },
    { form: 'utf-16le', bytes: utf16(plain) },
    { form: 'utf-16be', bytes: utf16(plain).swap16() },
    ...[0, 1, 2].flatMap((before) => base64At(plain, before)),
  ];
  const seen = new Set<string>();
  return all.filter(({ bytes: form }) => {
    const key = form.toString('latin1');
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Of text; bytes that are none are taken as Latin-1, which is what a careless program would do. */
function utf16(bytes: Buffer): Buffer {
  const text = bytes.toString('utf8');
  const isText = Buffer.from(text).equals(bytes);
  return Buffer.from(isText ? text : bytes.toString('latin1'), 'utf16le');
}

/** As it reads with this many bytes (0 to 2) before it in the same run of base64, without what its neighbours decide. */
function base64At(bytes: Buffer, before: number): Form[] {
  const encoded = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
  const from = Math.ceil((before * 8) / 6);
  const own = encoded.slice(from, Math.floor(((before + bytes.length) * 8) / 6));
  const urlForm = own.replaceAll('+', '-').replaceAll('/', '_');
  return [
    { form: `base64+${before}`, bytes: Buffer.from(own) },
    { form: `base64url+${before}`, bytes: Buffer.from(urlForm) },
  ];
}
