/* Energies, forces and virials of a pair potential by a table: module `native_pairs`. */

#include <math.h>
#include <stdint.h>

typedef struct {
    int64_t atoms, of_a_structure, kinds, knots;
    double cutoff, start, step;        /* of r^2 at the knots */
    const double *x, *cells, *inverse; /* (A, 3), (B, 3, 3) each; inverse is 0 where there is no cell */
    const int64_t *kind;               /* (A) */
    const double *table;               /* (kinds, kinds, knots, 2): u and step du/d(r^2) */
} Input;

/* Add to energies (A), forces (A, 3) and virials W (A, 3, 3), half of each pair's at either end. Returns the
   number of pairs closer than the first knot, which are left out. */
int64_t pairs(const Input *in, double *energies, double *forces, double *W) {
    int64_t closer = 0;
    for (int64_t i = 0; i < in->atoms; i++) {
        const int64_t structure = i / in->of_a_structure, end = (structure + 1) * in->of_a_structure;
        const double *h = in->cells + 9 * structure, *inverse = in->inverse + 9 * structure;
        for (int64_t j = i + 1; j < end; j++) {
            double r[3], s[3], square = 0;
            for (int c = 0; c < 3; c++) r[c] = in->x[3 * j + c] - in->x[3 * i + c];
            for (int c = 0; c < 3; c++)
                s[c] = rint(r[0] * inverse[c] + r[1] * inverse[3 + c] + r[2] * inverse[6 + c]);
            for (int c = 0; c < 3; c++) {
                r[c] -= s[0] * h[c] + s[1] * h[3 + c] + s[2] * h[6 + c];
                square += r[c] * r[c];
            }
            if (square >= in->cutoff * in->cutoff) continue;
            const double place = (square - in->start) / in->step;
            if (place < 0) {
                closer++;
                continue;
            }
            const int64_t knot = place;
            const double *row = in->table + 2 * ((in->kind[i] * in->kinds + in->kind[j]) * in->knots + knot);
            const double t = place - knot, rest = 1 - t, rise = row[2] - row[0];
            const double a = row[1] - rise, b = rise - row[3]; /* cubic with these values and slopes */
            const double u = rest * row[0] + t * row[2] + t * rest * (rest * a + t * b);
            const double slope = rise + (rest - t) * (rest * a + t * b) + t * rest * (b - a);
            energies[i] += u / 2;
            energies[j] += u / 2;
            for (int b = 0; b < 3; b++) {
                const double g = 2 * slope / in->step * r[b]; /* du/dr_b */
                forces[3 * i + b] += g;
                forces[3 * j + b] -= g;
                for (int c = 0; c < 3; c++) {
                    W[9 * i + 3 * c + b] -= r[c] * g / 2;
                    W[9 * j + 3 * c + b] -= r[c] * g / 2;
                }
            }
        }
    }
    return closer;
}
