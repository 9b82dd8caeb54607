/** Removals around the secrets of an epoch: what is sealed, for whom, bound to what; what is shown over a slot's file. */
import { inFile } from './removal.ts';

const OPEN = ['test/unit/keys/escrow-open.test.ts'];

export const ESCROW = [
  ...inFile(
    'protocol/escrow.ts',
    [...OPEN, 'test/unit/protocol/escrow.test.ts'],
    [
      {
        name: 'the device and the epoch in what a content key is bound to',
        find: 'concat(KEY_CONTEXT, unsignedBytes(id.length, 1), id, unsignedBytes(epoch, 8))',
        replace: 'concat(KEY_CONTEXT)',
      },
      {
        name: 'the context of the signature',
        find: 'return concat(BLOB_CONTEXT, body);',
        replace: 'return body;',
      },
      {
        name: 'the check that nothing follows a blob',
        find: ' || reader.left > 0) return malformed',
        replace: ') return malformed',
      },
      {
        name: 'the order of owners',
        find: 'if (before !== undefined && hex(owner) <= hex(before.owner)) return undefined;',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/credentials/credential-talk.ts',
    ['test/unit/agent/credentials/credential-talk.test.ts'],
    [
      {
        name: 'the newest root before a rotation is asked of the next boot',
        find: '    if (trouble !== undefined) {',
        replace: '    if (trouble === "never") {',
      },
    ],
  ),
  ...inFile(
    'agent/first-boot/mounts.ts',
    ['test/unit/agent/first-boot/mounts.test.ts'],
    [
      {
        name: 'that what is shown is no peer of /run',
        find: "'--bind', '--make-private', from, folder",
        replace: "'--bind', from, folder",
      },
      {
        name: 'the emptying of copies that are shown no more',
        find: '    for (const former of older) await this.#empty(join(folder, former));\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/commands/password.ts',
    ['test/unit/agent/setup-commands.test.ts'],
    [
      {
        name: 'that a password is chosen on an open device only',
        find: '  await demandOpen(directory);\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'protocol/escrow-secrets.ts',
    ['test/unit/protocol/escrow-secrets.test.ts'],
    [
      {
        name: 'the padding, by which lengths say nothing',
        find: 'new Uint8Array(Math.ceil(filled.length / ESCROW_PLAINTEXT_STEP_BYTES) * ESCROW_PLAINTEXT_STEP_BYTES)',
        replace: 'new Uint8Array(filled.length)',
      },
      {
        name: 'the check that the padding is zero',
        find: ' || bytes.subarray(at).some((byte) => byte !== 0)',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'keys/escrow-open.ts',
    [...OPEN, 'test/unit/cli/escrow.test.ts'],
    [
      {
        name: "the check of the device's signature",
        find: 'if (devicePublicKey !== undefined && !verifyEscrowSignature(blob, devicePublicKey)) {',
        replace: 'if (devicePublicKey === undefined && !verifyEscrowSignature(blob, new Uint8Array(65))) {',
      },
      { name: 'the check of the device', find: 'if (deviceId !== blob.deviceId) {', replace: 'if (deviceId === "") {' },
      { name: 'the check of the epoch', find: 'if (epoch !== blob.epoch) {', replace: 'if (epoch === 0) {' },
      {
        name: 'the commitment to the content key',
        find: ' && equalBytes(commitmentOf(key), blob.commitment)',
        replace: '',
      },
      {
        name: 'the head of the blob as associated data of its content',
        find: 'openOnce(contentKey, blob.content, blob.head)',
        replace: 'openOnce(contentKey, blob.content, blob.head.subarray(0, 0))',
      },
    ],
  ),
  ...inFile(
    'agent/first-boot/escrow.ts',
    ['test/unit/agent/first-boot/escrow.test.ts'],
    [
      {
        name: 'the least number of owners',
        find: 'if (keys.length < this.#atLeast) {',
        replace: 'if (keys.length < 1) {',
      },
      {
        name: 'the check of owner keys',
        find: 'const wrong = keys.findIndex((key) => !isX25519PublicKey(key));',
        replace: 'const wrong = -1;',
      },
      {
        name: 'the check that one owner is not two',
        find: 'if (new Set(keys.map(hex)).size === keys.length) return undefined;',
        replace: 'if (keys.length > 0) return undefined;',
      },
      { name: 'the reading back of its own blob', find: '      assertReadable(blob, deviceKey);\n', replace: '' },
    ],
  ),
  ...inFile(
    'trust/tuf/holdfast-root.ts',
    ['test/unit/trust/tuf/metadata.test.ts'],
    [
      {
        name: 'the check that an escrow key is one that seals',
        find: 'if (publicKey === undefined || !isX25519PublicKey(publicKey)) {',
        replace: 'if (publicKey === undefined) {',
      },
      {
        name: 'the check that an escrow key stands there once',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a template
        find: "if (keys.indexOf(key) !== index) shapeFault(`root escrowKeys[${index}]`, 'stands there twice');",
        replace: '',
      },
    ],
  ),
  ...inFile(
    'keys/next-root.ts',
    ['test/unit/keys/next-root.test.ts'],
    [
      {
        name: 'the root that a signer of the next one trusts',
        find: 'if (roots.some(({ bytes }) => equalBytes(bytes, anchor))) return;',
        replace: 'if (roots.length > 0 && anchor.length > 0) return;',
      },
      {
        name: 'the check that a drafted root is the next one',
        find: 'if (signed.version !== current.version + 1) {',
        replace: 'if (signed.version < current.version) {',
      },
      {
        name: 'the environment of a drafted root',
        find: 'if (environment !== current.holdfast.environment) {',
        replace: "if (environment === 'lab') {",
      },
      {
        name: 'the check that the key is one of the root role',
        find: "if (file.role !== 'root' || !ids.includes(file.keyId)) {",
        replace: "if (file.role !== 'root' && ids.length === 0) {",
      },
      {
        name: 'the least number of owners in a drafted root',
        find: '  demandOwners(escrowKeys.map((text) => unhex(text) ?? new Uint8Array()));\n',
        replace: '  escrowKeys.map((text) => unhex(text) ?? new Uint8Array());\n',
      },
    ],
  ),
  ...inFile(
    'keys/root-difference.ts',
    ['test/unit/keys/next-root.test.ts'],
    [
      {
        name: 'the members of a root that no row knows',
        find: "    ...others(before, after, KNOWN, ''),\n",
        replace: '',
      },
      { name: 'the certificates of servers', find: '    ...anchorsChanged(before, after),\n', replace: '' },
    ],
  ),
  ...inFile(
    'keys/ceremony.ts',
    ['test/unit/keys/ceremony.test.ts'],
    [
      {
        name: 'the least number of owners at a ceremony',
        find: '  demandOwners(request.escrowKeys ?? []);\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'cli/commands/escrow.ts',
    ['test/unit/cli/escrow.test.ts'],
    [
      {
        name: 'the refusal to give secrets to a pipe',
        find: 'if (!out.json && process.stdout.isTTY) return;',
        replace: 'return;',
      },
    ],
  ),
];
