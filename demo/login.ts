import { demoOwner, demoPassword, demoTenants } from '../seeds/control/demo.ts';
import { demoMember } from '../seeds/tenant/demo.ts';
import { operator, type Stage } from './stage.ts';

/** Values for `Authorization`: the owners write, the members only read, the operator looks at the cluster. */
export interface Credentials {
  writers: string[];
  readers: string[];
  operator: string;
}

export async function logIn({ urls: [url = ''], adminUrls: [adminUrl = ''] }: Stage): Promise<Credentials> {
  const slugs = demoTenants.map(({ slug }) => slug);
  const asUser = (slug: string, email: string) =>
    post(`${url}/v1/auth/login`, { 'X-Tenant-ID': slug }, { email, password: demoPassword });
  return {
    writers: await Promise.all(slugs.map((slug) => asUser(slug, demoOwner(slug).email))),
    readers: await Promise.all(slugs.map((slug) => asUser(slug, demoMember.emailOf(slug)))),
    operator: await post(`${adminUrl}/admin/v1/auth/login`, {}, operator),
  };
}

async function post(url: string, headers: Record<string, string>, body: object): Promise<string> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  const { accessToken } = (await answer.json()) as { accessToken: string };
  return `Bearer ${accessToken}`;
}
