/** The tenants of the demo, one of each isolation. */
export const demoTenants = [
  { slug: 'acme', name: 'Acme Tools', isolation: 'shared' },
  { slug: 'globex', name: 'Globex Corporation', isolation: 'schema' },
] as const;

export const demoPassword = 'demo-password';

export function demoOwner(slug: string) {
  return { email: `owner@${slug}.test`, password: demoPassword };
}
