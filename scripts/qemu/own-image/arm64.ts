/** What tells programs and kernels for 64-bit Arm from others, and the smallest program for it. */

/** ELF, e_machine. */
const MACHINES: Readonly<Record<number, string>> = {
  3: '32-bit x86',
  40: '32-bit Arm',
  62: '64-bit x86',
  183: '64-bit Arm',
  243: 'RISC-V',
};
const AARCH64 = 183;
/** Documentation/arm64/booting.rst of the kernel. */
const KERNEL_MAGIC_AT = 56;
const KERNEL_MAGIC = 'ARM\x64';

export const ELF_HEADER_BYTES = 64;

/** Undefined: for 64-bit Arm, or no program at all but a script. Else the name of the other architecture. */
export function foreignProgram(bytes: Uint8Array): string | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (head.toString('latin1', 0, 4) !== '\x7fELF' || head.length < 20) return undefined;
  const machine = head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18);
  return machine === AARCH64 ? undefined : (MACHINES[machine] ?? `ELF machine ${machine}`);
}

/** Whether this is what `booti` starts: an uncompressed kernel for 64-bit Arm. */
export function isArm64Kernel(bytes: Uint8Array): boolean {
  return Buffer.from(bytes).toString('latin1', KERNEL_MAGIC_AT, KERNEL_MAGIC_AT + 4) === KERNEL_MAGIC;
}

/** A static program that ends at once with status 1. As a device's init it makes every kernel panic. */
export function endingProgram(): Uint8Array {
  const [headerBytes, segmentBytes, loadAt] = [64, 56, 0x400000];
  // mov x8, #94 (exit_group); mov x0, #1; svc #0
  const code = [0xd2800bc8, 0xd2800020, 0xd4000001];
  const sizeBytes = headerBytes + segmentBytes + code.length * 4;
  const elf = Buffer.alloc(sizeBytes);
  // 64 bits, little endian, version 1.
  elf.write('\x7fELF\x02\x01\x01', 'latin1');
  elf.writeUInt16LE(2, 16);
  elf.writeUInt16LE(AARCH64, 18);
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(BigInt(loadAt + headerBytes + segmentBytes), 24);
  elf.writeBigUInt64LE(BigInt(headerBytes), 32);
  elf.writeUInt16LE(headerBytes, 52);
  elf.writeUInt16LE(segmentBytes, 54);
  elf.writeUInt16LE(1, 56);
  // One segment: all of the file, readable and executable.
  elf.writeUInt32LE(1, headerBytes);
  elf.writeUInt32LE(5, headerBytes + 4);
  elf.writeBigUInt64LE(BigInt(loadAt), headerBytes + 16);
  elf.writeBigUInt64LE(BigInt(loadAt), headerBytes + 24);
  elf.writeBigUInt64LE(BigInt(sizeBytes), headerBytes + 32);
  elf.writeBigUInt64LE(BigInt(sizeBytes), headerBytes + 40);
  elf.writeBigUInt64LE(0x1000n, headerBytes + 48);
  for (const [index, word] of code.entries()) elf.writeUInt32LE(word, headerBytes + segmentBytes + index * 4);
  return elf;
}
