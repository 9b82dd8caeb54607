import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chooseAccelerator, type Probe, probeAccelerator } from '../../../../scripts/qemu/accelerator.ts';

let folder: string;
let device: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-kvm-'));
  device = join(folder, 'kvm');
  await writeFile(device, '');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const never = (): Promise<Probe> => Promise.reject(new Error('not asked'));
const answering =
  (boots: boolean, said = '') =>
  (): Promise<Probe> =>
    Promise.resolve({ boots, said });

describe('which accelerator', () => {
  it('is KVM where a board was booted with it', async () => {
    const facts = { architecture: 'arm64', kvmDevice: device, probe: answering(true) };
    expect(await chooseAccelerator(facts)).toMatchObject({ accelerator: 'kvm' });
  });

  it('is software where KVM is there and boots nothing, and says what KVM said', async () => {
    const facts = { architecture: 'arm64', kvmDevice: device, probe: answering(false, 'no such CPU') };
    const { accelerator, why } = await chooseAccelerator(facts);
    expect(accelerator).toBe('tcg');
    expect(why).toContain('no such CPU');
  });

  it('is software without trying on another architecture, and without the device', async () => {
    expect(await chooseAccelerator({ architecture: 'x64', kvmDevice: device, probe: never })).toMatchObject({
      accelerator: 'tcg',
    });
    const missing = { architecture: 'arm64', kvmDevice: join(folder, 'nothing'), probe: never };
    expect(await chooseAccelerator(missing)).toMatchObject({ accelerator: 'tcg' });
  });
});

describe('the probe', () => {
  it('boots a board in software', async () => {
    expect(await probeAccelerator('tcg', 120_000)).toMatchObject({ boots: true });
  });

  it.skipIf(process.arch === 'arm64')('does not boot an Arm board with the KVM of another machine', async () => {
    const { boots, said } = await probeAccelerator('kvm', 120_000);
    expect(boots).toBe(false);
    expect(said).not.toBe('');
  });

  it('ends a board that says nothing in time', async () => {
    expect(await probeAccelerator('tcg', 1)).toMatchObject({ boots: false });
  });
});
