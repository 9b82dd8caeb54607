/** What the lab shows of a first boot, on the userspace that has systemd and its gates. */
import type { Scenario } from '../scenario.ts';
import { BYTES } from './bytes-scenario.ts';
import { ROTATION_CUTS } from './cuts-scenario.ts';
import { LIFE } from './life-scenario.ts';
import { BLOCKED_TRIAL, REPAIR } from './repair-scenario.ts';
import { STRANGERS } from './strangers-scenario.ts';

export const FIRST_BOOT_SCENARIOS: readonly Scenario[] = [STRANGERS, ROTATION_CUTS, BLOCKED_TRIAL, REPAIR, LIFE, BYTES];
