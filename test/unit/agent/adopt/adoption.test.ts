import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Adopter, type Adoption } from '../../../../agent/adopt/adoption.ts';
import type { RunProgram } from '../../../../agent/boards/board-program.ts';
import { type Disk, nodeDisk } from '../../../../platform/disk.ts';
import { difference, snapshot } from '../../../../scripts/package/check/snapshot.ts';

let root: string;
let plan: Adoption;
/** How the unit stands; what systemctl did to it, in order. */
let unit: { enabled: boolean; active: boolean; calls: string[] };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'adopt-'));
  await mkdir(join(root, 'etc'));
  unit = { enabled: false, active: false, calls: [] };
  plan = {
    format: 'holdfast-adoption-1',
    directories: [
      { path: join(root, 'data'), mode: 0o700 },
      { path: join(root, 'unit.d'), mode: 0o755 },
    ],
    files: [
      { path: join(root, 'etc/agent.json'), text: '{}\n' },
      { path: join(root, 'unit.d/adopt.conf'), text: '[Unit]\n' },
    ],
    unit: { enabled: false, active: false },
  };
});
afterEach(() => rm(root, { recursive: true, force: true }));

class Cut extends Error {}

/** Everything that changes something counts; the one numbered `cutAt` does not happen, and nothing after it. */
function until(cutAt: number): { disk: Disk; run: RunProgram; taken: () => number } {
  let steps = 0;
  const step = (): void => {
    steps += 1;
    if (steps >= cutAt) throw new Cut();
  };
  const disk: Disk = {
    ...nodeDisk,
    open: async (path, mode, permissions) => {
      if (mode === 'create') step();
      return nodeDisk.open(path, mode, permissions);
    },
    rename: async (from, to) => {
      step();
      return nodeDisk.rename(from, to);
    },
    remove: async (path) => {
      step();
      return nodeDisk.remove(path);
    },
    makeDirectory: async (path, permissions) => {
      step();
      return nodeDisk.makeDirectory(path, permissions);
    },
    removeDirectory: async (path) => {
      step();
      return nodeDisk.removeDirectory(path);
    },
    syncDirectory: async (path) => {
      step();
      return nodeDisk.syncDirectory(path);
    },
  };
  const run: RunProgram = async (_path, words) => {
    const [verb = ''] = words.slice(1);
    if (verb === 'is-enabled') return { status: unit.enabled ? 0 : 1, stdout: '', said: '' };
    if (verb === 'is-active') return { status: unit.active ? 0 : 3, stdout: '', said: '' };
    step();
    unit.calls.push(verb);
    if (verb === 'enable' || verb === 'disable') unit.enabled = verb === 'enable';
    if (verb === 'start' || verb === 'stop') unit.active = verb === 'start';
    return { status: 0, stdout: '', said: '' };
  };
  return { disk, run, taken: () => steps };
}

const adopter = (cutAt = Number.POSITIVE_INFINITY) => {
  const { disk, run, taken } = until(cutAt);
  return { adopter: new Adopter(disk, join(root, 'etc/adopted.json'), true, run), taken };
};
const picture = () => snapshot(root, [''], []);
async function takeBack(): Promise<string[]> {
  const { adopter: it } = adopter();
  return it.undo(await it.standing());
}

describe('adopting', () => {
  it('makes what the plan lists, enables and starts the unit', async () => {
    await adopter().adopter.adopt(plan);
    expect((await stat(join(root, 'data'))).mode & 0o777).toBe(0o700);
    expect(await readFile(join(root, 'etc/agent.json'), 'utf8')).toBe('{}\n');
    expect(unit.calls).toEqual(['daemon-reload', 'enable', 'start']);
  });

  it('writes its record before the first change', async () => {
    // The third step is the sync of the folder that holds the record.
    await expect(adopter(4).adopter.adopt(plan)).rejects.toThrow(Cut);
    expect(await adopter().adopter.standing()).toEqual(plan);
    expect(await readdir(root)).toEqual(['etc']);
    expect(await readdir(join(root, 'etc'))).toEqual(['adopted.json']);
  });

  it('neither replaces a file nor starts a unit in an image that is not running', async () => {
    await writeFile(join(root, 'etc/agent.json'), 'mine');
    const { disk, run } = until(Number.POSITIVE_INFINITY);
    await new Adopter(disk, join(root, 'etc/adopted.json'), false, run).adopt(plan);
    expect(await readFile(join(root, 'etc/agent.json'), 'utf8')).toBe('mine');
    expect(unit.calls).toEqual(['enable']);
  });

  it('cut at any step, it goes on when it is run again, and is taken back whole', async () => {
    const before = await picture();
    const whole = adopter();
    await whole.adopter.adopt(plan);
    const after = await picture();
    const steps = whole.taken();
    expect(steps).toBeGreaterThan(12);
    await takeBack();
    for (let cutAt = 1; cutAt <= steps; cutAt += 1) {
      await expect(adopter(cutAt).adopter.adopt(plan)).rejects.toThrow(Cut);
      await adopter().adopter.adopt(plan);
      expect(difference(after, await picture()), `cut at ${cutAt}, again`).toEqual([]);
      await takeBack();
      expect(difference(before, await picture()), `cut at ${cutAt}, taken back`).toEqual([]);

      await expect(adopter(cutAt).adopter.adopt(plan)).rejects.toThrow(Cut);
      await takeBack();
      expect(difference(before, await picture()), `cut at ${cutAt}, given up`).toEqual([]);
      expect(unit).toMatchObject({ enabled: false, active: false });
    }
  });
});

describe('taking an adoption back', () => {
  it('cut at any step, it is finished when it is run again', async () => {
    const before = await picture();
    await adopter().adopter.adopt(plan);
    const whole = adopter();
    await whole.adopter.undo(plan);
    const steps = whole.taken();
    for (let cutAt = 1; cutAt <= steps; cutAt += 1) {
      await adopter().adopter.adopt(plan);
      await expect(adopter(cutAt).adopter.undo(plan)).rejects.toThrow(Cut);
      await takeBack();
      expect(difference(before, await picture()), `cut at ${cutAt}`).toEqual([]);
      expect(unit).toMatchObject({ enabled: false, active: false });
    }
  });

  it('leaves what somebody changed, and state, and says so', async () => {
    await adopter().adopter.adopt(plan);
    await writeFile(join(root, 'etc/agent.json'), '{"mine":1}');
    await writeFile(join(root, 'data/identity'), 'x');
    const left = await takeBack();
    expect(left).toEqual([
      expect.stringContaining('agent.json: changed since'),
      expect.stringContaining('data: not empty'),
    ]);
    expect(await readdir(root, { recursive: true })).toEqual(
      expect.arrayContaining(['etc/agent.json', 'data/identity']),
    );
    expect(await adopter().adopter.standing()).toBeUndefined();
  });

  it('leaves a unit enabled and running that was so before', async () => {
    unit = { enabled: true, active: true, calls: [] };
    const { adopter: it } = adopter();
    const standing = { ...plan, unit: await it.unitNow() };
    await it.adopt(standing);
    await it.undo(standing);
    expect(unit).toMatchObject({ enabled: true, active: true });
    expect(unit.calls).not.toContain('stop');
  });

  it('refuses a record that is damaged, and touches nothing', async () => {
    await adopter().adopter.adopt(plan);
    await writeFile(join(root, 'etc/adopted.json'), '{"format":"holdfast-adoption-1"}');
    await chmod(join(root, 'etc/adopted.json'), 0o600);
    await expect(adopter().adopter.standing()).rejects.toMatchObject({ code: 'adoption-record-damaged' });
  });
});
