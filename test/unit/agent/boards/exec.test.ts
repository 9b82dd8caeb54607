import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { nodeDisk } from '../../../../platform/disk.ts';
import { boardOn, script } from './exec-board.ts';
import { FwEnvironment } from './fw-environment.ts';

describe('an executable that cannot be relied on', () => {
  const environment = new FwEnvironment({});
  const flags = '{"order":["a"],"trial":null}';
  const facts = '{"slot":"a","trial":false}';
  const answering = (text: string, deadlineMs?: number) =>
    boardOn(environment, script(environment.path(`board-${Math.random()}`), text), 3, deadlineMs);
  const honest = (verb: string, does: string) =>
    `case $1 in ${verb}) ${does};; boot-facts) echo '${facts}';; boot-flags) echo '${flags}';; esac`;

  it.each([
    ['prints nothing', 'exit 0'],
    ['prints no JSON', 'echo yes'],
    ['names a third slot', `echo '{"order":["c"],"trial":null}'`],
    ['names a slot twice', `echo '{"order":["a","a"],"trial":null}'`],
    ['has an empty order', `echo '{"order":[],"trial":null}'`],
    ['says more than was asked', `echo '{"order":["a"],"trial":null,"extra":1}'`],
    ['counts below zero', `echo '{"order":["a"],"trial":{"slot":"b","attemptsLeft":-1}}'`],
    ['fails', `echo '${flags}'; exit 3`],
    ['is ended by a signal', 'kill -9 $$'],
    ['never ends printing', 'while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done'],
  ])('is refused when it %s', async (_, text) => {
    await expect(answering(text).bootFlags()).rejects.toMatchObject({ code: 'board-program-failed' });
  });

  it('is refused when it gives no answer in time, and leaves no child behind', async () => {
    const pidFile = environment.path('pid');
    const board = answering(`sleep 600 & echo $! >'${pidFile}'; wait`, 500);
    await expect(board.bootFlags()).rejects.toThrow(/no answer within 500 ms/);
    const pid = Number(new TextDecoder().decode(await nodeDisk.readFile(pidFile, 64)));
    await expect.poll(() => isRunning(pid)).toBe(false);
  });

  it('cannot hold the answer back by a child that left its group', async () => {
    const pidFile = environment.path('daemon');
    const board = answering(`setsid sh -c 'echo $$ >"${pidFile}"; exec sleep 600' & sleep 0.1`, 700);
    await expect(board.bootFlags()).rejects.toThrow(/no answer within 700 ms/);
    process.kill(Number(new TextDecoder().decode(await nodeDisk.readFile(pidFile, 64))), 'SIGKILL');
  });

  it('is found out when it says that it was done, and it was not', async () => {
    const board = answering(honest('arm-trial', 'exit 0'));
    await expect(board.armTrial('b')).rejects.toThrow(/does not say that it was done/);
  });

  it('is handed one line of JSON, and nothing of the agent’s environment', async () => {
    const seen = environment.path('seen');
    process.env.HOLDFAST_SECRET_OF_THE_TEST = 'x';
    const board = answering(honest('arm-trial', `cat >'${seen}'; env >>'${seen}'; exit 9`));
    await expect(board.armTrial('b')).rejects.toThrow(/failed at arm-trial: exit status 9/);
    const text = new TextDecoder().decode(await nodeDisk.readFile(seen, 4096));
    expect(text.split('\n')[0]).toBe('{"protocol":1,"slot":"b","attempts":3}');
    expect(text).not.toContain('HOLDFAST_SECRET_OF_THE_TEST');
    delete process.env.HOLDFAST_SECRET_OF_THE_TEST;
  });

  it('is never asked to retire the booted slot', async () => {
    const asked = environment.path('asked');
    const board = answering(honest('retire-slot', `touch '${asked}'`));
    await expect(board.retireSlot('a')).rejects.toThrow(/booted/);
    expect(await nodeDisk.readFile(asked, 16)).toBeUndefined();
  });

  it('is a Fault with a cure when it is not there', async () => {
    const board = boardOn(environment, environment.path('nowhere'), 3);
    await expect(board.bootFlags()).rejects.toMatchObject({ code: 'board-program-missing' });
  });
});

/** A process that was killed and that nobody has waited for yet runs no more. */
function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
