(* An upper bound of the KL divergence that a head of size k leaves, by the singular values of C log P beyond the k-th:
   "Head size from the spectrum" in section 5 of docs/theory.md. With D what the truncation leaves out, q ~ p e^(-D) in each
   column, so KL = sum p D + ln (sum p e^(-D)) <= sum p (e^(-D) - 1 + D) <= e^s sum p D^2 / 2, as ln z <= z - 1. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From mathcomp Require Import boolp classical_sets functions reals topology normedtype derive realfun sequences exp.
From rankbound Require Import real_exponential.
From rankbound Require model log_rank softmax_gauge theorem_a model_measure.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports numFieldNormedType.Exports.
Local Open Scope ring_scope.

Local Notation exp := sequences.expR.
Local Notation ln := (@exp.ln _).
Local Notation softmax L := (\matrix_(i, j) (exp (L i j) / \sum_l exp (L l j))).
Local Notation logits s X Wk Wq := (s *: ((Wk *m X)^T *m (Wq *m X))).
Local Notation centre R n := (1%:M - n%:R^-1 *: ((const_mx 1 : 'M[R]_(n, 1)) *m (const_mx 1 : 'M[R]_(n, 1))^T) : 'M[R]_n).
Local Notation kl n P Q := (n%:R^-1 * \sum_(j < n) \sum_(i < n) P i j * (ln (P i j) - ln (Q i j))).

Section Columns.
Variable R : realType.

(* e^x <= 1 + x + e^s x^2 / 2 for x <= s, s >= 0: the derivative of the difference has the sign of x *)
Lemma exp_quadratic (s x : R) : 0 <= s -> x <= s -> exp x - 1 - x <= exp s / 2 * x ^+ 2.
Proof.
move=> s0 xs; pose M := exp s; have M1 : 1 <= M by rewrite -(@exp.expR0 R) exp.ler_expR.
pose f (t : R) := M / 2 * t ^+ 2 - exp t + t; pose df (t : R) := M * t - exp t + 1.
have d t : is_derive t 1 f (df t).
  have -> : f = ((M / 2) \*: ((id : R -> R) ^+ 2) - exp + id)%R.
    by apply/funext => u; rewrite /f !fctE.
  have E (u v : R) : u *: v = u * v by [].
  by apply: is_derive_eq; rewrite !E expr1 mulr1 mulrA divfK ?pnatr_eq0.
have c a b : {within `[a, b]%classic, continuous f}.
  by apply: continuous_subspaceT => t; apply/differentiable_continuous/derivable1_diffP; have [] := d t.
suff : 0 <= f x - f 0.
  have -> : f x - f 0 = M / 2 * x ^+ 2 - (exp x - 1 - x) by rewrite /f exp.expR0; move: (exp x) (M / 2) => u v; ring.
  by rewrite subr_ge0.
have [x0 | /ltW x0] := leP 0 x.
  have [t] := @MVT_segment R f df 0 x x0 (fun t _ => d t) (c 0 x).
  rewrite in_itv /= => /andP [t0 tx] ->; rewrite subr0 mulr_ge0 //.
  have -> : df t = (M - exp t) * t + (1 - exp t * (1 - t)) by rewrite /df; ring.
  rewrite addr_ge0 ?mulr_ge0 ?subr_ge0 ?exp.ler_expR ?(le_trans tx) //.
  by have := real_expR_ge (- t); rewrite exp.expRN -[X in _ <= X]mulr1 ler_pdivl_mull ?exp.expR_gt0.
have [t] := @MVT_segment R f df x 0 x0 (fun t _ => d t) (c x 0).
rewrite in_itv /= => /andP [tx t0] e; rewrite -opprB e sub0r mulrN opprK.
have -> : df t * x = (exp t - (1 + t) + (M - 1) * - t) * - x by rewrite /df; ring.
apply: mulr_ge0; last by rewrite oppr_ge0.
by apply: addr_ge0; [rewrite subr_ge0 real_expR_ge | rewrite mulr_ge0 ?subr_ge0 ?oppr_ge0].
Qed.

(* one column: p = e^a / sum e^a, q = e^b / sum e^b, and all |a_i - b_i| <= s *)
Lemma kl_column n (a b p q : 'I_n -> R) (s : R) : (forall i, `|a i - b i| <= s) ->
  (forall i, p i = exp (a i) / \sum_l exp (a l)) -> (forall i, q i = exp (b i) / \sum_l exp (b l)) ->
  \sum_i p i * (ln (p i) - ln (q i)) <= exp s / 2 * \sum_i p i * (a i - b i) ^+ 2.
Proof.
case: n a b p q => [|n] a b p q ab pE qE; first by rewrite !big_ord0 mulr0.
have s0 : 0 <= s := le_trans (normr_ge0 _) (ab ord0).
pose A := \sum_l exp (a l); pose B := \sum_l exp (b l).
have pos (f : 'I_n.+1 -> R) : 0 < \sum_l exp (f l).
  by rewrite big_ord_recl ltr_paddr ?exp.expR_gt0 // sumr_ge0 // => l _; apply/ltW/exp.expR_gt0.
have A0 : 0 < A := pos a; have B0 : 0 < B := pos b.
have p0 i : 0 <= p i by rewrite pE divr_ge0 // ltW ?exp.expR_gt0.
have p1 : \sum_i p i = 1 by under eq_bigr do rewrite pE; rewrite -mulr_suml divff // gt_eqF.
have klE i : ln (p i) - ln (q i) = a i - b i + ln (B / A).
  by rewrite pE qE !exp.ln_div ?posrE ?exp.expR_gt0 // !exp.expK -/A -/B; ring.
have BA : B / A = \sum_i p i * exp (b i - a i).
  rewrite /B mulr_suml; apply: eq_bigr => i _.
  by rewrite pE mulrAC -exp.expRD addrCA subrr addr0.
have lnBA : ln (B / A) <= B / A - 1.
  by rewrite ler_subr_addl; have := real_expR_ge (ln (B / A)); rewrite exp.lnK // posrE divr_gt0.
under eq_bigr do rewrite klE mulrDr.
rewrite big_split /= -mulr_suml p1 mul1r.
apply: le_trans (_ : \sum_i p i * (a i - b i) + (B / A - 1) <= _); first by rewrite ler_add2l.
rewrite BA -{1}p1 -sumrB -big_split /= mulr_sumr; apply: ler_sum => i _.
have h : exp (b i - a i) - 1 - (b i - a i) <= exp s / 2 * (a i - b i) ^+ 2.
  rewrite -[(a i - b i) ^+ 2]sqrrN [- (a i - b i)]opprB; apply: exp_quadratic => //.
  by apply: le_trans (ler_norm _) _; rewrite distrC.
rewrite mulrCA; apply: le_trans (ler_wpmul2l (p0 i) h).
rewrite le_eqVlt; apply/orP; left; apply/eqP; move: (exp _) (p i) => e r; ring.
Qed.
End Columns.

(* C log P = U diag(v) V^T with orthogonal matrices U and V: a singular value decomposition, the singular values v in any
   order and of any sign. D is what the truncation leaves out that keeps the first k of them. If all p_ij <= e^eta / n and
   all |D_ij| <= s, then on tokens X of full column rank some head of size k has a mean KL divergence from P of at most
   e^(eta + s) (v_k^2 + ... + v_(n - 1)^2) / (2 n^2): the context of the truncation as logits. *)
Theorem kl_upper (R : realType) d n k (scale eta s : R) (X : 'M[R]_(d, n)) (P U V : 'M[R]_n) (v : 'rV[R]_n) :
  scale != 0 -> \rank X = n -> (forall i j, 0 < P i j) -> (forall j, \sum_i P i j = 1) ->
  (forall i j, P i j <= exp eta / n%:R) -> U^T *m U = 1%:M -> V^T *m V = 1%:M ->
  centre R n *m map_mx ln P = U *m diag_mx v *m V^T ->
  let D : 'M[R]_n := U *m diag_mx (\row_l if (l < k)%N then 0 else v 0 l) *m V^T in
  (forall i j, `|D i j| <= s) -> exists Wk Wq : 'M[R]_(k, d),
    kl n P (softmax (logits scale X Wk Wq)) <= exp (eta + s) * (\sum_(l < n | (k <= l)%N) v 0 l ^+ 2) / (2 * n%:R ^+ 2).
Proof.
move=> scale0 rX P0 P1 small UU VV svd D Ds.
case: n => [|n] in X P U V v rX P0 P1 small UU VV svd D Ds *.
  by exists 0, 0; rewrite !big_ord0 mulr0 mulr0 mul0r.
pose N := n.+1; pose A := centre R N *m map_mx ln P; pose L := (A - D)%R.
have N0 : N%:R != 0 :> R by rewrite pnatr_eq0.
have sP : @model.stochastic (model_measure.realExp R) N N P by [].
have rL : (\rank L <= k)%N.
  have -> : L = U *m (diag_mx v *m pid_mx k) *m V^T.
    rewrite /L /A svd -mulmxBl -mulmxBr; congr (_ *m _ *m _); apply/matrixP => i j.
    rewrite mul_diag_mx !mxE val_eqE; case: (i =P j) => [->|_] /=; last by rewrite !mulr0n subrr mulr0.
    by rewrite !mulr1n; case: ltnP => _; rewrite ?subr0 ?subrr ?mulr1 ?mulr0.
  apply: leq_trans (mxrankM_maxl _ _) _; apply: leq_trans (mxrankM_maxr _ _) _.
  apply: leq_trans (mxrankM_maxr _ _) _; have [kN | /ltnW Nk] := leqP k N; first by rewrite rank_pid_mx.
  exact: leq_trans (rank_leq_row _) Nk.
pose Q : 'M[R]_N := softmax L.
have sQ : @model.stochastic (model_measure.realExp R) N N Q :=
  @softmax_gauge.softmax_stochastic (model_measure.realExp R) N N L isT.
have gauge (M S : 'M[R]_N) : @model.stochastic (model_measure.realExp R) N N S ->
    softmax M = S -> centre R N *m map_mx ln S = centre R N *m M.
  move=> sS /(@softmax_gauge.softmax_eq (model_measure.realExp R) N N M S sS) [c ->].
  by rewrite (log_rank.centre_gauge N0).
have [Wk [Wq WQ]] : exists Wk Wq : 'M[R]_(k, d), softmax (logits scale X Wk Wq) = Q.
  apply/(@theorem_a.theorem_a (model_measure.realExp R) d N k scale X Q isT sQ scale0 rX).
  rewrite /model.logrank [X in (\rank X <= _)%N](gauge L Q sQ erefl).
  exact: leq_trans (mxrankM_maxr _ _) rL.
exists Wk, Wq; rewrite WQ.
have PA : softmax A = P.
  apply/(@softmax_gauge.softmax_eq (model_measure.realExp R) N N A P sP).
  by have [c e] := @log_rank.logrank_attained R N (map_mx ln P); exists c; rewrite -[LHS]e.
have squares : \sum_j \sum_i D i j ^+ 2 = \sum_(l < N | (k <= l)%N) v 0 l ^+ 2.
  pose w : 'rV[R]_N := \row_l if (l < k)%N then 0 else v 0 l.
  transitivity (\tr (D^T *m D)).
    by apply: eq_bigr => j _; rewrite [RHS]mxE; apply: eq_bigr => i _; rewrite [(D^T)%R _ _]mxE expr2.
  rewrite /D -/w !trmx_mul trmxK tr_diag_mx -!mulmxA [U^T *m _]mulmxA UU mul1mx mxtrace_mulC -!mulmxA VV mulmx1.
  rewrite mulmx_diag mxtrace_diag [RHS]big_mkcond /=; apply: eq_bigr => l _; rewrite !mxE.
  by case: ltnP => _; rewrite ?mul0r // expr2.
have column j : \sum_i P i j * (ln (P i j) - ln (Q i j)) <= exp s / 2 * (exp eta / N%:R) * \sum_i D i j ^+ 2.
  have LD i : A i j - L i j = D i j by rewrite /L [X in _ - X]mxE [X in _ - (_ + X)]mxE opprD opprK addrA subrr add0r.
  apply: le_trans (@kl_column R N (fun i => A i j) (fun i => L i j) (fun i => P i j) (fun i => Q i j) s _ _ _) _.
  - by move=> i; rewrite LD.
  - by move=> i; rewrite -{1}PA mxE.
  - by move=> i; rewrite mxE.
  rewrite -[X in _ <= X]mulrA; apply: ler_wpmul2l; first exact: divr_ge0 (ltW (exp.expR_gt0 s)) (ler0n R 2).
  rewrite mulr_sumr.
  by apply: ler_sum => i _; rewrite LD ler_wpmul2r ?sqr_ge0.
have total : \sum_j \sum_i P i j * (ln (P i j) - ln (Q i j)) <=
    exp s / 2 * (exp eta / N%:R) * \sum_(l < N | (k <= l)%N) v 0 l ^+ 2.
  by rewrite -squares mulr_sumr; apply: ler_sum => j _; apply: column.
have N1 : 0 <= N%:R^-1 :> R by rewrite invr_ge0 ler0n.
apply: le_trans (ler_wpmul2l N1 total) _; rewrite exp.expRD le_eqVlt; apply/orP; left; apply/eqP.
rewrite -/N; move: (exp s) (exp eta) (\sum_(_ < _ | _) _) (N%:R : R) N0 => x y z m m0.
by field.
Qed.
