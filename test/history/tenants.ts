import { type Arena, operator } from './arena.ts';
import { valueOf } from './operation.ts';
import { type Answered, ask, type Asked } from './wire.ts';

/** The tenants of a history, their registers, and the users who work on them: made through the APIs. */
export interface Member {
  tenant: string;
  /** Bearer's. */
  authorization: string;
  /** The register that this user alone writes to; undefined for one who only reads. */
  own: Register | undefined;
  /** Of the whole tenant. */
  registers: readonly Register[];
}

export interface Register {
  name: string;
  /** Of the product that it is. */
  id: string;
}

/** The `name` of a product that is a register; others are written once and never changed. */
export const registerMark = 'register';

const password = 'a password of histories';
const tenants = [
  { slug: 'history_shared', isolation: 'shared' },
  { slug: 'history_schema', isolation: 'schema' },
];

/** @returns per tenant `writers` users with a register of their own and `readers` without one */
export async function populate(
  { processes: [first] }: Arena,
  { writers, readers }: { writers: number; readers: number },
): Promise<Member[]> {
  if (first === undefined) throw new Error('There is no process');
  const { url, adminUrl } = first;
  const admin = bearer(await login(`${adminUrl}/admin/v1/auth/login`, operator));
  const members = await Promise.all(
    tenants.map(async ({ slug, isolation }) => {
      const owner = { email: `owner@${slug.replace('_', '-')}.test`, password };
      await done(`${adminUrl}/admin/v1/tenants`, {
        method: 'POST',
        headers: { Authorization: admin },
        body: { slug, name: slug, isolation, owner },
      });
      const tokenOf = (credentials: object) =>
        login(`${url}/v1/auth/login`, credentials, { 'X-Tenant-ID': slug });
      const asOwner = { Authorization: bearer(await tokenOf(owner)) };
      const registers: Register[] = [];
      const team: Omit<Member, 'registers'>[] = [];
      for (let n = 0; n < writers + readers; n += 1) {
        const credentials = { email: `user-${n}@history.test`, password };
        await done(`${url}/v1/users`, {
          method: 'POST',
          headers: asOwner,
          body: { ...credentials, role: 'member' },
        });
        const own = n < writers ? await createRegister(url, asOwner, slug, `r${n}`) : undefined;
        if (own !== undefined) registers.push(own);
        team.push({ tenant: slug, authorization: bearer(await tokenOf(credentials)), own });
      }
      return team.map((member) => ({ ...member, registers }));
    }),
  );
  return members.flat();
}

async function createRegister(
  url: string,
  headers: Record<string, string>,
  tenant: string,
  name: string,
): Promise<Register> {
  const { body } = await done(`${url}/v1/products`, {
    method: 'POST',
    headers,
    body: productOf(tenant, name, registerMark, 0),
  });
  return { name, id: (body as { id: string }).id };
}

export function productOf(tenant: string, register: string, mark: string, number: number): object {
  return {
    sku: register,
    name: mark,
    description: valueOf(tenant, register, number),
    priceCents: 1,
    stock: 1,
  };
}

async function login(
  url: string,
  credentials: object,
  headers: Record<string, string> = {},
): Promise<string> {
  const { body } = await done(url, { method: 'POST', headers, body: credentials });
  return (body as { accessToken: string }).accessToken;
}

const bearer = (token: string): string => `Bearer ${token}`;

async function done(url: string, asked: Asked): Promise<Answered> {
  const answered = await ask(url, asked);
  if (answered.status >= 300 || answered.status === 0) {
    throw new Error(`${url} answered ${answered.status}: ${JSON.stringify(answered.body)}`);
  }
  return answered;
}
