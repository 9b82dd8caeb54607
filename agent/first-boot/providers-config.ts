/** The credentials of a device, as agent.json lists them (`firstBoot.providers`): at least one, in the order of work. */
import * as v from 'valibot';

export const ProvidersConfig = v.pipe(
  v.array(v.looseObject({ kind: v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,32}$/)) })),
  v.minLength(1),
  v.maxLength(64),
);
export type ProvidersConfig = v.InferOutput<typeof ProvidersConfig>;
