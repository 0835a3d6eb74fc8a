(* Test of kl_upper: two tokens and P proportional to e^(a I) meet its hypotheses, with the singular values a and 0, and
   its bound at head size 0 is one of the KL divergence of uniform attention. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From mathcomp Require Import reals sequences exp.
From rankbound Require Import real_exponential kl_upper.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
Local Notation exp := sequences.expR.
Local Notation ln := (@exp.ln _).

Lemma uniform_near (R : realType) (a : R) (P : 'M[R]_2) : 0 <= a ->
  (forall i j, P i j = exp (a *+ (i == j)) / (exp a + 1)) ->
  2^-1 * (\sum_j \sum_i P i j * (ln (P i j) - ln 2^-1)) <= exp (a + a / 2) * a ^+ 2 / 8.
Proof.
move=> a0 PE; pose c : R := (Num.sqrt 2)^-1.
have two : 2 != 0 :> R by rewrite pnatr_eq0.
have cc : c * c = 2^-1 by rewrite -invfM -expr2 sqr_sqrtr // ler0n.
have cac : c * a * c = a / 2 by rewrite mulrAC cc mulrC.
pose U : 'M[R]_2 := \matrix_(i, j) (if (i == 1) && (j == 0) then - c else c).
pose v : 'rV[R]_2 := \row_l (if l == 0 then a else 0).
have Z0 : 0 < exp a + 1 by rewrite addr_gt0 ?exp.expR_gt0 ?ltr01.
have lnP i j : ln (P i j) = a *+ (i == j) - ln (exp a + 1).
  by rewrite PE exp.ln_div ?posrE ?exp.expR_gt0 // exp.expK.
have UE i j : U i j = if (i == 1) && (j == 0) then - c else c by rewrite mxE.
have vE l : v 0 l = if l == 0 then a else 0 by rewrite mxE.
have UU : U^T *m U = 1%:M.
  apply/matrixP => i j; rewrite !mxE !big_ord_recl big_ord0 ![U^T _ _]mxE !UE addr0.
  by case: i => [[|[|//]] ?]; case: j => [[|[|//]] ?]; rewrite /= ?mulrNN ?mulrN ?mulNr cc; field.
have svd : (1%:M - 2%:R^-1 *: ((const_mx 1 : 'M[R]_(2, 1)) *m (const_mx 1 : 'M[R]_(2, 1))^T)) *m map_mx ln P =
    U *m diag_mx v *m U^T.
  apply/matrixP => i j; rewrite [LHS]mxE [RHS]mxE mul_mx_diag !big_ord_recl !big_ord0 !mxE.
  rewrite !big_ord_recl !big_ord0 !mxE !lnP.
  by case: i => [[|[|//]] ?]; case: j => [[|[|//]] ?]; rewrite /= ?mulr1n ?mulr0n ?mulNr ?mulrN ?opprK cac;
    move: (ln _) => z; field.
have small i j : P i j <= exp a / 2.
  have e1 : 1 <= exp a by rewrite -(@exp.expR0 R) exp.ler_expR.
  rewrite PE ler_pmul ?invr_ge0 ?(ltW Z0) ?(ltW (exp.expR_gt0 _)) ?exp.ler_expR //; first by case: (i == j).
  by rewrite lef_pinv ?posrE ?ltr0n // [2](natrD _ 1 1) ler_add2r.
have P1 j : \sum_i P i j = 1.
  rewrite !big_ord_recl big_ord0 !PE addr0 -mulrDl.
  by case: j => [[|[|//]] ?]; rewrite /= ?mulr1n ?mulr0n exp.expR0 ?[1 + _]addrC divff ?gt_eqF.
have P0 i j : 0 < P i j by rewrite PE divr_gt0 ?exp.expR_gt0.
have [| Wk [Wq]] := @kl_upper R 2 2 0 1 a (a / 2) 1%:M P U U v (oner_neq0 R) (mxrank1 R 2) P0 P1 small UU UU svd.
  move=> i j; rewrite mxE mul_mx_diag !big_ord_recl !big_ord0 !mxE /=.
  by case: i => [[|[|//]] ?]; case: j => [[|[|//]] ?]; rewrite /= ?mulNr ?mulrN ?opprK cac
    mulr0 ?mul0r ?oppr0 !addr0 ?normrN ger0_norm ?divr_ge0 ?ler0n.
have E0 l j : (1 *: ((Wk *m 1%:M)^T *m (Wq *m 1%:M)) : 'M[R]_2) l j = 0 by rewrite !mxE big_ord0 mulr0.
have vv : \sum_(l < 2 | (0 <= l)%N) v 0 l ^+ 2 = a ^+ 2.
  by rewrite big_mkcond /= !big_ord_recl big_ord0 !vE /= expr0n addr0 addr0.
rewrite vv (_ : 2 * 2 ^+ 2 = 8 :> R); last by ring.
apply: le_trans; rewrite le_eqVlt; apply/orP; left; apply/eqP; congr (_ * _).
apply: eq_bigr => j _; apply: eq_bigr => i _; congr (_ * (_ - ln _)).
rewrite mxE E0; under eq_bigr do rewrite E0.
by rewrite exp.expR0 sumr_const card_ord mul1r.
Qed.
