/* Energies, forces and virials of a pair potential by a table: module `pairs`. */

#include <math.h>
#include <stdint.h>

typedef struct {
    int64_t atoms, of_a_structure, kinds, knots;
    double cutoff, start, step;        /* of r^2 at the knots */
    const double *x, *cells, *inverse; /* (A, 3), (B, 3, 3) each; inverse is 0 where there is no cell */
    const int64_t *kind;               /* (A) */
    const double *table;               /* (kinds, kinds, knots, 4): u and its derivatives by place (below) */
} Input;

/* At t between two knots, from value, slope and curvature at either. */
static double quintic(const double *p, const double *q, double t) {
    const double D = q[0] - p[0] - p[1] - p[2] / 2, E = q[1] - p[1] - p[2], C = q[2] - p[2];
    const double a = 10 * D - 4 * E + C / 2, b = 7 * E - 15 * D - C, c = 6 * D - 3 * E + C / 2;
    return p[0] + t * (p[1] + t * (p[2] / 2 + t * (a + t * (b + t * c))));
}

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
            const double *row = in->table + 4 * ((in->kind[i] * in->kinds + in->kind[j]) * in->knots + knot);
            const double u = quintic(row, row + 4, place - knot), slope = quintic(row + 1, row + 5, place - knot);
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
