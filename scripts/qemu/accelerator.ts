/**
 * KVM where it really boots a guest, software emulation everywhere else. /dev/kvm says little: it may open and boot
 * nothing. So a board is started with it, and its bootloader must speak.
 */
import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { errorText } from '../../platform/fault.ts';
import { type Accelerator, boardWords, EMULATOR } from '../device-image/board.ts';

const KVM_DEVICE = '/dev/kvm';
/** U-Boot speaks after a fifth of a second, even under emulation on a busy machine after two. */
const PROBE_LIMIT_MS = 15_000;
const SAID_AT_MOST = 64 * 1024;

export interface Probe {
  readonly boots: boolean;
  /** What QEMU or the board said last. */
  readonly said: string;
}

export interface AcceleratorChoice {
  readonly accelerator: Accelerator;
  /** For a person: the choice, and why. */
  readonly why: string;
}

/** Starts a board without a disk and waits for its bootloader's first line. It is ended in every case. */
export function probeAccelerator(accelerator: Accelerator, limitMs = PROBE_LIMIT_MS): Promise<Probe> {
  return new Promise((resolve) => {
    const words = [...boardWords(accelerator), '-serial', 'stdio'];
    const child = spawn(EMULATOR, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    const end = (boots: boolean): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      resolve({ boots, said: said.trim().split('\n').at(-1) ?? '' });
    };
    const hear = (text: string): void => {
      if (said.length < SAID_AT_MOST) said += text;
      if (/^U-Boot 20/m.test(said)) end(true);
    };
    const timer = setTimeout(() => end(false), limitMs);
    child.stdout.setEncoding('utf8').on('data', hear);
    child.stderr.setEncoding('utf8').on('data', hear);
    child.once('error', (error) => {
      said += errorText(error);
      end(false);
    });
    child.once('close', () => end(false));
  });
}

export interface HostFacts {
  /** As Node names it. */
  readonly architecture: string;
  readonly kvmDevice: string;
  readonly probe: () => Promise<Probe>;
}

const HOST: HostFacts = { architecture: process.arch, kvmDevice: KVM_DEVICE, probe: () => probeAccelerator('kvm') };

export async function chooseAccelerator({
  architecture,
  kvmDevice,
  probe,
}: HostFacts = HOST): Promise<AcceleratorChoice> {
  const software = (because: string): AcceleratorChoice => ({
    accelerator: 'tcg',
    why: `software emulation: ${because}`,
  });
  if (architecture !== 'arm64') return software(`this machine is ${architecture}, the boards are arm64`);
  try {
    await access(kvmDevice, constants.R_OK | constants.W_OK);
  } catch (error) {
    return software(`${kvmDevice} cannot be used (${errorText(error)})`);
  }
  const { boots, said } = await probe();
  if (boots) return { accelerator: 'kvm', why: 'KVM: a board was booted with it' };
  return software(`KVM is here and boots no board (${said || 'it says nothing'})`);
}
