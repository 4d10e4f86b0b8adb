/* Features of atoms, and forces and virials from their slopes. Module `native` says what is computed; it
   compiles this with `real`, float or double, and the numbers of radial functions R, of angular functions P,
   and of sets of them, SETS: 1, or 2 with species weights.

   Neighbors go in blocks of LANES, the last one filled up with far ones: loops of a length that the compiler
   knows become a few vector instructions. A row is LANES numbers, one for each neighbor of a block. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 32
#define EACH for (int k = 0; k < LANES; k++)
#define CLOSE 1         /* told of pairs: closer than known, */
#define REPELLED 2      /* within the repulsion's cutoff */
#define SERIES 11       /* terms of sin and cos between -pi/2 and pi/2: exact in double precision */
#define E (2 * P - 1)   /* functions e_m */
#define F (R + P)       /* features of a set */

typedef real row[LANES];

typedef struct { /* of all atoms */
    int64_t atoms, of_a_structure, columns, elements;
    double radial_cutoff, angular_cutoff, repulsion_cutoff;
    const double *x, *cells, *shifts;     /* (A, 3), (B, 3, 3), (3, A, K) */
    const int64_t *neighbor, *counts, *z; /* (A, K), (A), (A) */
    const double *weights, *known;        /* (Z, Z): of species; squared distances, CLOSE below */
    const double *legendre, *harmonics;   /* c_nl, Q_mlp */
} Input;

typedef struct { /* of one atom's neighbors, (blocks, rows) */
    int blocks;
    int64_t *index;
    row *r, *w, *u, *d, *t; /* edge vectors, species weights, directions, distances, 2 d/Rr - 1 */
    row *fr, *Tr, *dTr;     /* fc and its slope, T_m(t), T'_m(t) for the radial cutoff */
    row *fa, *Ta, *dTa;     /* the same, of u_z, for the angular one */
    row *fT, *e;            /* fc T_p; Re (x + iy)^m, m = 0..P-1, then Im, m = 1..P-1 */
    real A[SETS][E][P];     /* A_lm, [m][l] */
} Atom;

/* Lanes without a neighbor hold the atom itself, beyond the cutoff. */
static int around(const Input *in, int64_t i, Atom *a) {
    const double *h = in->cells + 9 * (i / in->of_a_structure), *x = in->x + 3 * i;
    const int64_t *neighbor = in->neighbor + i * in->columns, own = in->z[i] * in->elements;
    const double *S[3], reach = fmax(in->radial_cutoff, in->angular_cutoff);
    int n = 0, told = 0;
    for (int c = 0; c < 3; c++) S[c] = in->shifts + (c * in->atoms + i) * in->columns;
    for (int k = 0; k < in->counts[i]; k++) {
        const double *y = in->x + 3 * neighbor[k];
        double r[3], square = 0;
        for (int c = 0; c < 3; c++) {
            r[c] = y[c] - x[c] + S[0][k] * h[c] + S[1][k] * h[3 + c] + S[2][k] * h[6 + c];
            square += r[c] * r[c];
        }
        if (square < reach * reach) {
            int64_t other = own + in->z[neighbor[k]];
            for (int c = 0; c < 3; c++) a->r[3 * (n / LANES) + c][n % LANES] = r[c];
            a->w[n / LANES][n % LANES] = in->weights[other];
            a->index[n] = neighbor[k];
            if (square < in->known[other]) told |= CLOSE;
            if (square < in->repulsion_cutoff * in->repulsion_cutoff) told |= REPELLED;
            n++;
        }
    }
    for (; n % LANES; n++) {
        for (int c = 0; c < 3; c++) a->r[3 * (n / LANES) + c][n % LANES] = c ? 0 : 2 * reach;
        a->w[n / LANES][n % LANES] = 0;
        a->index[n] = i;
    }
    a->blocks = n / LANES;
    return told;
}

static void directions(const row *r, row *u, real *d, real *t, real cutoff) {
    EACH d[k] = sqrt(r[0][k] * r[0][k] + r[1][k] * r[1][k] + r[2][k] * r[2][k]);
    for (int c = 0; c < 3; c++) EACH u[c][k] = r[c][k] / d[k];
    EACH t[k] = d[k] < cutoff ? 2 / cutoff * d[k] - 1 : 1;
}

/* fc(d) and its slope, by the series of sin and cos of s = pi d/Rc - pi/2 */
static void cutoff_function(const real *d, real cutoff, row *f) {
    const real rate = 3.14159265358979323846 / cutoff;
    EACH {
        real inside = d[k] < cutoff ? (real)0.5 : 0, s = ((d[k] < cutoff ? d[k] : cutoff) - cutoff / 2) * rate;
        real square = s * s, sine = 1, cosine = 1;
        for (int m = SERIES - 1; m > 0; m--) {
            sine = 1 - square * sine * (real)(1. / (2 * m * (2 * m + 1)));
            cosine = 1 - square * cosine * (real)(1. / (2 * m * (2 * m - 1)));
        }
        f[0][k] = inside * (1 - s * sine);
        f[1][k] = -inside * rate * cosine;
    }
}

/* T_m(x) and T'_(m+1) = 2 T_m + 2 x T'_m - T'_(m-1) */
static void chebyshev(const real *x, int order, row *T, row *dT) {
    EACH T[0][k] = 1, dT[0][k] = 0;
    if (order > 0) EACH T[1][k] = x[k], dT[1][k] = 1;
    for (int m = 2; m <= order; m++) EACH {
        T[m][k] = 2 * x[k] * T[m - 1][k] - T[m - 2][k];
        dT[m][k] = 2 * (T[m - 1][k] + x[k] * dT[m - 1][k]) - dT[m - 2][k];
    }
}

static void circular(const row *u, int order, row *e) {
    EACH e[0][k] = 1;
    if (order > 0) EACH e[1][k] = u[0][k], e[order + 1][k] = u[1][k];
    for (int m = 2; m <= order; m++) EACH {
        real a = e[m - 1][k], b = e[order + m - 1][k];
        e[m][k] = a * u[0][k] - b * u[1][k];
        e[order + m][k] = a * u[1][k] + b * u[0][k];
    }
}

/* S = sum_j a_j b_j, and with weights; a has A rows in a block, b has B */
static void sums(const Atom *atom, const row *a, int A, const row *b, int B, real S[2]) {
    row plain = {0}, weighted = {0};
    for (int n = 0; n < atom->blocks; n++) EACH {
        real product = a[n * A][k] * b[n * B][k];
        plain[k] += product;
        weighted[k] += product * atom->w[n][k];
    }
    S[0] = S[1] = 0;
    EACH S[0] += plain[k];
    EACH S[1] += weighted[k];
}

/* All that both loops need of an atom; what is to be told of its pairs. */
static int describe(const Input *in, int64_t i, Atom *a) {
    const int told = around(in, i, a);
    for (int n = 0; n < a->blocks; n++) {
        directions(a->r + 3 * n, a->u + 3 * n, a->d[n], a->t[n], in->radial_cutoff);
        cutoff_function(a->d[n], in->radial_cutoff, a->fr + 2 * n);
        chebyshev(a->t[n], R - 1, a->Tr + R * n, a->dTr + R * n);
        cutoff_function(a->d[n], in->angular_cutoff, a->fa + 2 * n);
        chebyshev(a->u[3 * n + 2], P - 1, a->Ta + P * n, a->dTa + P * n);
        circular(a->u + 3 * n, P - 1, a->e + E * n);
        for (int p = 0; p < P; p++) EACH a->fT[P * n + p][k] = a->fa[2 * n][k] * a->Ta[P * n + p][k];
    }
    for (int m = 0; m < E; m++) {
        real M[P][2];
        for (int p = 0; p < P; p++) sums(a, a->e + m, E, a->fT + p, P, M[p]);
        for (int s = 0; s < SETS; s++)
            for (int l = 0; l < P; l++) {
                a->A[s][m][l] = 0;
                for (int p = 0; p < P; p++) a->A[s][m][l] += in->harmonics[(m * P + l) * P + p] * M[p][s];
            }
    }
    return told;
}

static Atom room(const Input *in) {
    const int64_t blocks = (in->columns + LANES - 1) / LANES;
    const int64_t sizes[] = {3, 3, 1, 1, 1, 2, 2, R, R, P, P, P, E};
    row *unused = aligned_alloc(64, blocks * (13 + 2 * R + 3 * P + E) * sizeof(row));
    Atom a;
    row **each[] = {&a.r, &a.u, &a.w, &a.d, &a.t, &a.fr, &a.fa, &a.Tr, &a.dTr, &a.Ta, &a.dTa, &a.fT, &a.e};
    for (int n = 0; n < 13; n++) {
        *each[n] = unused;
        unused += blocks * sizes[n];
    }
    a.index = malloc(blocks * LANES * sizeof(int64_t));
    return a;
}

static void leave(Atom a) {
    free(a.index);
    free(a.r);
}

/* Fill G (A, SETS, F); what is to be told of pairs. */
int features(const Input *in, real *G) {
    int told = 0;
    Atom a = room(in);
    for (int64_t i = 0; i < in->atoms; i++, G += SETS * F) {
        told |= describe(in, i, &a);
        for (int m = 0; m < R; m++) {
            real S[2];
            sums(&a, a.fr, 2, a.Tr + m, R, S);
            for (int s = 0; s < SETS; s++) G[s * F + m] = S[s];
        }
        for (int s = 0; s < SETS; s++) {
            real own = 0; /* pairs of a neighbor with itself, left out */
            for (int n = 0; n < a.blocks; n++) EACH {
                real f = a.fa[2 * n][k] * (s ? a.w[n][k] : 1);
                own += f * f;
            }
            for (int q = 0; q < P; q++) {
                real both = -own;
                for (int l = 0; l < P; l++) {
                    real power = 0;
                    for (int m = 0; m < E; m++) power += a.A[s][m][l] * a.A[s][m][l];
                    both += in->legendre[q * P + l] * power;
                }
                G[s * F + R + q] = both / 2;
            }
        }
    }
    leave(a);
    return told;
}

/* dM = dE/dM_mp from slopes q (SETS, F) of an atom's features */
static void slopes_of_moments(const Input *in, const Atom *a, const real *q, real dM[2][E][P]) {
    for (int s = 0; s < SETS; s++)
        for (int m = 0; m < E; m++) {
            for (int p = 0; p < P; p++) dM[s][m][p] = 0;
            for (int l = 0; l < P; l++) {
                real slope = 0; /* 2 dE/dP_l */
                for (int n = 0; n < P; n++) slope += in->legendre[n * P + l] * q[s * F + R + n];
                slope *= a->A[s][m][l];
                for (int p = 0; p < P; p++) dM[s][m][p] += slope * in->harmonics[(m * P + l) * P + p];
            }
        }
}

/* g = dE/dr of the edges in block n, from slopes q (SETS, F) and dM */
static void edge_gradients(const Input *in, const Atom *a, int n, const real *q, real dM[2][E][P], row *g) {
    const real *w = a->w[n], *d = a->d[n], rate = 2 / in->radial_cutoff;
    const row *u = a->u + 3 * n, *e = a->e + E * n, *fT = a->fT + P * n;
    const row *fr = a->fr + 2 * n, *fa = a->fa + 2 * n;
    const row *Tr = a->Tr + R * n, *dTr = a->dTr + R * n, *Ta = a->Ta + P * n, *dTa = a->dTa + P * n;
    row along = {0}, across[3] = {{0}}, dfT[P] = {{0}}; /* dE/dd, dE/du, dE/d(fc T_p) */
    for (int m = 0; m < R; m++) {
        const real plain = q[m], weighted = SETS > 1 ? q[(SETS - 1) * F + m] : 0;
        EACH along[k] += (plain + weighted * w[k]) * (dTr[m][k] * rate * fr[0][k] + Tr[m][k] * fr[1][k]);
    }
    for (int m = 0; m < E; m++) {
        row de = {0}; /* dE/de_m */
        for (int p = 0; p < P; p++) {
            const real plain = dM[0][m][p], weighted = SETS > 1 ? dM[1][m][p] : 0;
            EACH {
                const real slope = plain + weighted * w[k];
                de[k] += slope * fT[p][k];
                dfT[p][k] += slope * e[m][k];
            }
        }
        const int sine = m >= P, l = sine ? m - P + 1 : m; /* Re or Im of (x + iy)^l */
        if (l == 1) EACH across[sine][k] += de[k];
        if (l < 2) continue;
        const real *real_part = e[l - 1], *imaginary = e[P + l - 2];
        EACH {
            across[sine][k] += l * de[k] * real_part[k];
            across[1 - sine][k] += (sine ? l : -l) * de[k] * imaginary[k];
        }
    }
    real plain = 0, weighted = 0; /* pairs of a neighbor with itself, left out */
    for (int p = 0; p < P; p++) plain += q[R + p], weighted += SETS > 1 ? q[SETS * F - P + p] : 0;
    EACH along[k] -= (plain + weighted * w[k] * w[k]) * fa[0][k] * fa[1][k];
    for (int p = 0; p < P; p++) EACH {
        along[k] += dfT[p][k] * Ta[p][k] * fa[1][k];
        across[2][k] += dfT[p][k] * dTa[p][k] * fa[0][k];
    }
    EACH {
        const real inward = across[0][k] * u[0][k] + across[1][k] * u[1][k] + across[2][k] * u[2][k];
        for (int c = 0; c < 3; c++) g[c][k] = (across[c][k] - inward * u[c][k]) / d[k] + along[k] * u[c][k];
    }
}

/* Add to forces (A, 3) and virials W (A, 3, 3) what slopes dG (A, SETS, F) make; sums in double precision. An
   edge gives so much of its virial to its neighbor, and so much to its center. */
void gradients(const Input *in, const real *dG, double to_neighbor, double to_center, double *forces, double *W) {
    Atom a = room(in);
    real dM[2][E][P];
    row g[3];
    for (int64_t i = 0; i < in->atoms; i++, dG += SETS * F) {
        describe(in, i, &a);
        slopes_of_moments(in, &a, dG, dM);
        for (int n = 0; n < a.blocks; n++) {
            edge_gradients(in, &a, n, dG, dM, g);
            EACH {
                const int64_t j = a.index[n * LANES + k];
                for (int b = 0; b < 3; b++) {
                    const double slope = g[b][k];
                    forces[3 * i + b] += slope;
                    forces[3 * j + b] -= slope;
                    for (int c = 0; c < 3; c++) {
                        const double w = a.r[3 * n + c][k] * slope;
                        W[9 * j + 3 * c + b] -= to_neighbor * w;
                        W[9 * i + 3 * c + b] -= to_center * w;
                    }
                }
            }
        }
    }
    leave(a);
}
