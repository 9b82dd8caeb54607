/**
 * What every board owes the install machine, whatever keeps its flags. Each adapter's test says how to put one together
 * in a given state, and how its medium looks after a power cut anywhere; the rules are here, once.
 */
import { describe, expect, it } from 'vitest';
import type { Board, BootFlags, Slot } from '../../../../agent/core/ports.ts';

export interface BoardUnderTest {
  readonly board: Board;
  /** Changes whenever anything was written to the medium. */
  fingerprint(): Promise<string | number>;
  /** Runs `act`, and returns the flags that a reboot would find after a cut at each point of it. At least one. */
  cutsOf(act: () => Promise<void>): Promise<BootFlags[]>;
  /** How often a reboot was asked for. */
  rebootsAsked(): Promise<number>;
}

export type MakeBoard = (start: BootFlags, booted: Slot) => Promise<BoardUnderTest>;

export interface BoardTraits {
  readonly attempts: number;
  /** False where the bootloader knows one permanent slot and no second choice behind it. */
  readonly secondChoice: boolean;
}

interface Case {
  readonly what: string;
  readonly start: BootFlags;
  readonly booted: Slot;
  readonly act: (board: Board) => Promise<void>;
  readonly end: BootFlags;
}

function casesOf({ attempts, secondChoice }: BoardTraits): Case[] {
  const order = (...slots: Slot[]): Slot[] => (secondChoice ? slots : slots.slice(0, 1));
  const used = { slot: 'b', attemptsLeft: attempts - 1 } as const;
  return [
    {
      what: 'retires a slot',
      start: { order: order('a', 'b'), trial: null },
      booted: 'a',
      act: (board) => board.retireSlot('b'),
      end: { order: ['a'], trial: null },
    },
    {
      what: 'retires its trial with it',
      start: { order: ['a'], trial: used },
      booted: 'a',
      act: (board) => board.retireSlot('b'),
      end: { order: ['a'], trial: null },
    },
    {
      what: 'retires the first slot of the order when the other one runs',
      start: { order: order('b', 'a'), trial: null },
      booted: 'a',
      act: (board) => board.retireSlot('b'),
      end: { order: ['a'], trial: null },
    },
    {
      what: 'arms a trial with all its attempts',
      start: { order: ['a'], trial: used },
      booted: 'a',
      act: (board) => board.armTrial('b'),
      end: { order: ['a'], trial: { slot: 'b', attemptsLeft: attempts } },
    },
    {
      what: 'disarms, and leaves the order',
      start: { order: ['a'], trial: used },
      booted: 'a',
      act: (board) => board.disarmTrial(),
      end: { order: ['a'], trial: null },
    },
    {
      what: 'confirms a slot: first, no trial, the other behind it',
      start: { order: ['a'], trial: used },
      booted: 'b',
      act: (board) => board.confirmSlot('b'),
      end: { order: order('b', 'a'), trial: null },
    },
    {
      what: 'does not bring a retired slot back by confirming the other',
      start: { order: ['b'], trial: null },
      booted: 'b',
      act: (board) => board.confirmSlot('b'),
      end: { order: ['b'], trial: null },
    },
  ];
}

export function boardContract(name: string, make: MakeBoard, traits: BoardTraits): void {
  describe(`the contract of boards: ${name}`, () => {
    const cases = casesOf(traits);

    it.each(cases)('$what, and the same again writes nothing', async ({ start, booted, act, end }) => {
      const { board, fingerprint } = await make(start, booted);
      expect(await board.bootFlags()).toEqual(start);
      await act(board);
      expect(await board.bootFlags()).toEqual(end);
      const before = await fingerprint();
      await act(board);
      expect(await board.bootFlags()).toEqual(end);
      expect(await fingerprint()).toBe(before);
    });

    it.each(cases)('$what: whole or not at all, at every cut', async ({ start, booted, act, end }) => {
      const { board, cutsOf } = await make(start, booted);
      const found = await cutsOf(() => act(board));
      expect(found.length).toBeGreaterThan(0);
      for (const flags of found) expect([start, end]).toContainEqual(flags);
      expect(found.at(-1)).toEqual(end);
    });

    it.each(['a', 'b'] as const)('never takes the booted slot out of the order: %s', async (booted) => {
      const start: BootFlags = { order: [booted], trial: null };
      const { board, fingerprint } = await make(start, booted);
      const before = await fingerprint();
      await expect(board.retireSlot(booted)).rejects.toThrow(/booted/);
      expect(await board.bootFlags()).toEqual(start);
      expect(await fingerprint()).toBe(before);
    });

    it('goes through an update and the way back', async () => {
      const { board } = await make({ order: ['a'], trial: null }, 'a');
      await board.retireSlot('b');
      await board.armTrial('b');
      expect(await board.bootFlags()).toEqual({
        order: ['a'],
        trial: { slot: 'b', attemptsLeft: board.trialAttempts },
      });
      await board.disarmTrial();
      expect(await board.bootFlags()).toEqual({ order: ['a'], trial: null });
      expect(board.trialAttempts).toBe(traits.attempts);
    });

    it('says what booted, with an id of this boot', async () => {
      const { board } = await make({ order: ['b'], trial: null }, 'b');
      expect(await board.bootFacts()).toMatchObject({ slot: 'b', trial: false });
      expect((await board.bootFacts()).bootId).not.toBe('');
    });

    it('has different places for the two slots, and none outside them', async () => {
      const { board } = await make({ order: ['a'], trial: null }, 'a');
      expect(board.imagePath('a', 'rootfs')).not.toBe(board.imagePath('b', 'rootfs'));
      for (const wrong of ['../a/rootfs', '', 'constructor/x', '__proto__']) {
        expect(() => board.imagePath('b', wrong)).toThrow();
      }
    });

    it('asks for one reboot', async () => {
      const { board, rebootsAsked } = await make({ order: ['a'], trial: null }, 'a');
      await board.requestReboot();
      expect(await rebootsAsked()).toBe(1);
    });
  });
}
