(* Tests of the certificates' rules: they accept what they should, and no more rank than there can be. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a certified_gap certified_minor main.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* no data pass the test of a gap with as many rows as tokens, at any ratio that is not negative *)
Lemma gap_below_n (R : expField) n (P lo hi A e V G : 'M[R]_n) rho rows columns g v :
  (0 < n)%N -> 0 <= rho -> ~ gap P rho lo hi A e V G rows columns g v.
Proof.
move=> n0 rho0 /gap_logrank/(_ (logm P)) h; have := logrank_lt (nR0 R n0) (logm P) n0.
by rewrite ltnNge h // => i j; rewrite mxE subrr normr0.
Qed.

(* log P = [1 0; 0 0] passes with r = 1 at any ratio below 1 / sqrt 8, where 1 / 2 is the least that could not *)
Lemma gap_accepts (R : expField) (rho : R) : 8%:R * rho ^+ 2 < 1 ->
  let L : 'M[R]_2 := \matrix_(i, j) ((i == 0) && (j == 0))%:R in
  gap (map_mx expR L) rho L L (centre R 2 *m L) 0 (\col_i (i == 0)%:R : 'M_(2, 1)) (\row_i (-1) ^+ i) 0 0 2%:R 1.
Proof.
move=> small L; set V := \col_i _; set G := \row_i _.
have two : 2%:R != 0 :> R by rewrite pnatr_eq0.
have LE i j : L i j = ((i == 0) && (j == 0))%:R by rewrite mxE.
have I i : i = 0 :> 'I_1 by apply: ord1.
have E0 m p (i : 'I_m) (j : 'I_p) : (0 : 'M[R]_(m, p)) i j = 0 by rewrite mxE.
have GAV : G *m (centre R 2 *m L) *m V = 1%:M.
  apply/matrixP => i j; rewrite !mxE !big_ord_recl big_ord0 !mxE !big_ord_recl !big_ord0 !centreE !big_ord_recl !big_ord0 !LE.
  have GE k l : G k l = (-1) ^+ l by rewrite mxE.
  by rewrite !GE (I i) (I j) /= expr0 expr1; field.
split=> [i j | i j | | |].
- by rewrite [map_mx _ _ _ _]mxE expK lexx.
- by rewrite centreE E0 addr0 !lexx.
- by split=> i; rewrite big1 // => j _; rewrite GAV subrr E0 normr0 add0r big1 // => a _; rewrite big1 // => b _; rewrite E0 mulr0 mul0r.
- split=> i; rewrite big_ord_recl big_ord0 addr0 !mxE !big_ord_recl !big_ord0 !mxE /=.
    by rewrite expr0 expr1 mulrNN !mulr1 addr0 ger0_norm ?addr_ge0 ?ler01 //.
  by rewrite mul0r mulr1 !addr0 normr1.
have -> : (2%:R * rho) ^+ 2 * 2%:R * 1 = 8%:R * rho ^+ 2 by ring.
by rewrite mul0r add0r mulr0 mul0r subr0 exprn_gt0 // subr_gt0.
Qed.

(* keys and queries I: the first entry of 2 C is 1, a unit modulo 3, so the log-rank of e^I on 2 tokens is at least 1 *)
Lemma minor_accepts (R : expField) :
  (1 <= logrank (softmax (1 *: map_mx ratr ((1%:M : 'M[rat]_2)^T *m 1%:M)) : 'M[R]_2) <= 2)%N.
Proof.
have res c j : coprimez (denq ((1%:M : 'M[rat]_2) c j)) 3 /\
    (numq ((1%:M : 'M[rat]_2) c j) = (1%:M : 'M[int]_2) c j * denq ((1%:M : 'M[rat]_2) c j) %[mod 3])%Z.
  by rewrite !mxE; case: (c == j); split.
apply: (@certified_head R 2 2 1 3 1 1%:M 1%:M 1%:M 1%:M (fun=> 0) (fun=> 0)) => //; first exact: oner_neq0.
by rewrite det_mx11 mxE !big_ord_recl !big_ord0 !mxE.
Qed.
