import { createLadder, type LadderName } from '../../src/control/migrations/ladder.ts';

/** The project's own migrations, so that a test need not know how many there are. */
export const stepsOf = (name: LadderName): Promise<string[]> => createLadder(name).steps();
