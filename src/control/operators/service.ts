import type { Passwords } from '../../auth/passwords.ts';
import type { Tokens } from '../../auth/tokens.ts';
import type { ControlDatabase } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { findOperator, hasOperators, insertOperator } from './repository.ts';
import type { Login, OperatorSession } from './schema.ts';

export interface OperatorService {
  /** Makes the first operator; does nothing when there is one. */
  ensureFirst(first: { email: string; password: string }): Promise<void>;
  /** @throws AppError invalid_credentials, in the same words and time for an unknown e-mail and a wrong password */
  login(input: Login): Promise<OperatorSession>;
}

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
      await database.write((session) =>
        insertOperator(session, { email: email.toLowerCase(), passwordHash }),
      );
    },
    async login({ email, password }) {
      const operator = await database.read((session) => findOperator(session, email));
      const matches = await passwords.verify(password, operator?.passwordHash);
      if (!matches || operator === undefined) {
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
