(* Within any ratio of any P there is a context that needs head size n - 1 on every X, and, for an X of
   rank below n >= 2, one that no head of any size has on X. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a theorem_1 theorem_1_more.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Dense.
Variable R : expField.

(* logits that rise by at most t move no log-probability by more than t *)
Lemma logm_near n (A B : 'M[R]_n) t : (forall i j, 0 <= B i j <= t) -> forall i j,
  `|ln (softmax (A + B) i j) - ln (softmax A i j)| <= t.
Proof.
move=> hB i j; have n0 : (0 < n)%N by apply: leq_ltn_trans (ltn_ord i).
have [P0 P1] := softmax_stochastic A n0; have [Q0 Q1] := softmax_stochastic (A + B) n0.
have [c hc] := (softmax_eq A (conj P0 P1)).1 erefl.
have [c' hc'] := (softmax_eq (A + B) (conj Q0 Q1)).1 erefl.
pose g := c' 0 j - c 0 j.
have e l : ln (softmax (A + B) l j) = ln (softmax A l j) + (B l j - g).
  have /matrixP/(_ l j) := hc'; have /matrixP/(_ l j) := hc.
  have -> : (A + B) l j = A l j + B l j by rewrite mxE.
  have E (M : 'M[R]_n) (v : 'rV_n) : (logm M + ones R n *m v) l j = ln (M l j) + v 0 j.
    by rewrite [LHS]mxE onesE mxE.
  by rewrite !E => -> h; apply: (addIr (c' 0 j)); rewrite -h /g; ring.
have lt (M N : 'M[R]_n) : (forall l, 0 < M l j) -> (forall l, 0 < N l j) ->
    (forall l, ln (M l j) < ln (N l j)) -> \sum_l M l j < \sum_l N l j.
  move=> M0 N0 h; have h' l : M l j < N l j.
    by rewrite -[M l j]lnK ?posrE // -[N l j]lnK ?posrE // ltr_expR.
  by rewrite (bigD1 i) // [X in _ < X](bigD1 i) //= ltr_le_add // ler_sum // => l _; apply: ltW.
have g0 : 0 <= g.
  rewrite leNgt; apply/negP => g0.
  have := lt (softmax A) (softmax (A + B)) (P0 ^~ j) (Q0 ^~ j); rewrite P1 Q1 ltxx => h.
  suff : false by []. apply: h => l; rewrite e ltr_addl subr_gt0.
  by apply: lt_le_trans g0 _; case/andP: (hB l j).
have gt : g <= t.
  rewrite leNgt; apply/negP => g1.
  have := lt (softmax (A + B)) (softmax A) (Q0 ^~ j) (P0 ^~ j); rewrite P1 Q1 ltxx => h.
  suff : false by []. apply: h => l; rewrite e gtr_addl subr_lt0.
  by apply: le_lt_trans g1; case/andP: (hB l j).
rewrite e addrC addKr ler_norml; case/andP: (hB i j) => b0 bt.
rewrite ler_subr_addr ler_subl_addr ler_paddr // andbT.
by apply: le_trans b0; rewrite addrC subr_le0.
Qed.

(* within any ratio of any P: a Q that no head of size below n - 1 has on any X at any scale *)
Theorem unreachable_dense n (P : 'M[R]_n) (e : R) : (0 < n)%N -> stochastic P -> 0 < e ->
  exists Q : 'M[R]_n, [/\ stochastic Q, forall i j, `|ln (Q i j) - ln (P i j)| <= e &
    forall d k s (X : 'M_(d, n)), reachable k s X Q -> (n.-1 <= k)%N].
Proof.
move=> n0 sP e0; have [t h /andP [t0 te]] := almost_all_small (almost_every (logm P) n0) e0.
have sQ := softmax_stochastic (logm P + t%:M) n0.
exists (softmax (logm P + t%:M)); split=> // [i j | d k s X [Wk [Wq hX]]].
  apply: le_trans te; have := @logm_near n (logm P) t%:M t; rewrite (softmax_logm sP); apply.
  by move=> a b; rewrite mxE; case: eqP => _; rewrite ?mulr1n ?mulr0n ?lexx ltW.
by rewrite -h; apply: logrank_necessary hX.
Qed.

(* X of rank < n, n >= 2: within any ratio of any P there is one that no head of any size has on X *)
Theorem deficient_dense d n (X : 'M[R]_(d, n)) (P : 'M[R]_n) (e : R) : (1 < n)%N -> (\rank X < n)%N ->
  stochastic P -> 0 < e -> exists Q : 'M[R]_n, [/\ stochastic Q,
    forall i j, `|ln (Q i j) - ln (P i j)| <= e & forall s k, ~ reachable k s X Q].
Proof.
move=> n1 rX sP e0; have [a [b h]] := deficient_lines n1 rX.
have [t ht /andP [t0 te]] := almost_all_small (h (logm P)) e0.
exists (softmax (logm P + t *: delta_mx a b)); split=> [|i j|//]; first by apply: softmax_stochastic; apply: ltnW.
apply: le_trans te; have := @logm_near n (logm P) (t *: delta_mx a b) t; rewrite (softmax_logm sP); apply.
by move=> i' j'; rewrite !mxE; case: ((_ == _) && _); rewrite ?mulr1n ?mulr0n ?mulr1 ?mulr0 ?lexx ltW.
Qed.
End Dense.
