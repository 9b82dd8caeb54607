import { expect, it } from 'vitest';
import { CUT_PHASES, phaseNamed, phaseReached, phasesFor } from '../../../../scripts/qemu/cut-phases.ts';

const line = (text: string) => ({ atMs: 0, text });

it('cuts are spread over every phase alike', () => {
  const names = phasesFor(4 * CUT_PHASES.length).map(({ name }) => name);
  for (const { name } of CUT_PHASES) expect(names.filter((one) => one === name)).toHaveLength(4);
});

it('few cuts fall first where a cut could do most harm', () => {
  expect(phasesFor(3).map(({ name }) => name)).toEqual(['write', 'arm', 'confirm']);
});

it('a phase that is asked for gets every cut', () => {
  expect(phasesFor(3, 'restart').map(({ name }) => name)).toEqual(['restart', 'restart', 'restart']);
});

it('a state that is begun from was saved by an earlier phase', () => {
  for (const { name, savedIn = name } of CUT_PHASES) {
    const order = CUT_PHASES.map((phase) => phase.name);
    expect(order.indexOf(savedIn)).toBeLessThanOrEqual(order.indexOf(name));
    expect(phaseNamed(savedIn).savedIn).toBeUndefined();
  }
});

it('what the console said last tells the phase', () => {
  const check = phaseNamed('check');
  expect(phaseReached([], check).name).toBe('check');
  const said = [
    '{"level":"info","message":"checking → downloading","event":"obtained"}',
    '{"level":"info","message":"downloading → verifying","event":"written"}',
    'noise',
  ];
  expect(phaseReached(said.map(line), check).name).toBe('read-back');
  expect(phaseReached([line('holdfast: slot b on trial, 2 attempts left after this one')], check).name).toBe('attempt');
});
