/** What people want of keys and releases and may not have. */
import { EXIT, Fault } from '../platform/fault.ts';

export function refused(code: string, what: string, where: string, cure: string): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.refused });
}
