import type { Passwords } from '../../auth/passwords.ts';
import type { Tokens } from '../../auth/tokens.ts';
import type { Actor, Author, ControlDatabase } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import { findOperator, hasOperators, insertOperator } from './repository.ts';
import type { Login, OperatorSession } from './schema.ts';

export interface OperatorService {
  /** Makes the first operator; does nothing when there is one. */
  ensureFirst(first: { email: string; password: string }): Promise<void>;
  /** @throws AppError invalid_credentials, in the same words and time for an unknown e-mail and a wrong password */
  login(input: Login, from: Origination): Promise<OperatorSession>;
}

/** Where a login comes from; who it is, only its success tells. */
export type Origination = Omit<Author, 'actor'>;

export function createOperatorService(parts: {
  database: ControlDatabase;
  passwords: Passwords;
  tokens: Tokens;
}): OperatorService {
  const { database, passwords, tokens } = parts;
  return {
    async ensureFirst({ email, password }) {
      if (await database.read(hasOperators)) return;
      const passwordHash = await passwords.hash(password);
      await database.write(async (session) => {
        const id = await insertOperator(session, { email: email.toLowerCase(), passwordHash });
        if (id === undefined) return;
        const author: Author = { actor: { kind: 'system', id: 'start' } };
        await recordPlatformEvent(session, author, { ...operatorEvent(id), action: 'operators.create' });
      });
    },
    async login({ email, password }, from) {
      const operator = await database.read((session) => findOperator(session, email));
      const matches = await passwords.verify(password, operator?.passwordHash);
      const right = matches && operator !== undefined;
      const actor: Actor = right ? { kind: 'platform', id: operator.id } : { kind: 'session', id: 'login' };
      const action = right ? 'operators.login' : 'operators.login_failed';
      await database.write((session) =>
        recordPlatformEvent(
          session,
          { ...from, actor },
          { ...operatorEvent(operator?.id), action, after: { email } },
        ),
      );
      if (!right) {
        throw new AppError('invalid_credentials', 'The e-mail address or the password is not right.');
      }
      return {
        accessToken: tokens.signOperator({ operatorId: operator.id }),
        tokenType: 'Bearer',
        expiresIn: tokens.expiresInS,
      };
    },
  };
}

function operatorEvent(id: string | undefined) {
  return { resource: 'operators', resourceId: id };
}
