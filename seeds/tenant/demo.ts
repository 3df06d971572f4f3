/** What a demo tenant sells and has sold: enough to page through, and the same every time. */

const kinds = ['Hammer', 'Saw', 'Drill', 'Wrench', 'Level', 'Plane', 'Chisel', 'Clamp', 'Rasp', 'Vise'];
const grades = ['Basic', 'Standard', 'Pro', 'Compact', 'Heavy', 'Classic'];

export function demoProducts(slug: string) {
  return grades.flatMap((grade, g) =>
    kinds.map((kind, k) => ({
      sku: `${slug.slice(0, 3).toUpperCase()}-${String(g * kinds.length + k + 1).padStart(3, '0')}`,
      name: `${grade} ${kind}`,
      description: `The ${grade.toLowerCase()} ${kind.toLowerCase()} of the house.`,
      priceCents: 990 + g * 500 + k * 125,
      currency: 'USD',
      stock: 100 + ((g * 7 + k * 3) % 50),
    })),
  );
}

export const demoOrderCount = 45;

/** Which products, by position, the nth order takes. */
export function demoOrderLines(n: number, productCount: number): { product: number; quantity: number }[] {
  const lines = 1 + (n % 3);
  return Array.from({ length: lines }, (_, line) => ({
    product: (n * 7 + line * 13) % productCount,
    quantity: 1 + ((n + line) % 3),
  }));
}

export const demoMember = {
  emailOf: (slug: string) => `member@${slug}.test`,
  name: 'Demo Member',
};
